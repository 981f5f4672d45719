"""Faults that the tests must find: `python -m tests.breakages [NAME ...]` breaks a copy of the package, one at a time.

Each breakage stands in the table as (name, what it breaks, source text before, source text after, tests). Nothing is
found by path, so that files may move: `before` must occur exactly once in `igan_tf/`, and the tests, an expression of
pytest's `-k`, are looked for in the files that define the functions named in it. A breakage counts as caught if one of
its tests fails with it and all of them pass without. The exit status is 1 if any is missed or cannot be tried.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

REPOSITORY = Path(__file__).parent.parent
# A fault may make a test wait for what never comes.
SECONDS = 600


class Breakage(NamedTuple):
    name: str
    breaks: str
    before: str
    after: str
    tests: str


# fmt: off
BREAKAGES = [Breakage(*row) for row in [
    # Layers.
    ("minibatch-self-term", "Minibatch discrimination counts an example as its own neighbour.",
     "ops.not_equal(ops.expand_dims(rows, 1), rows)",
     "ops.greater_equal(ops.expand_dims(rows, 1) + rows, 0)",
     "test_one_row_gives_the_bias or test_divisors_by_counting_copies"),
    ("cross-statistics", "Cross batch normalization measures each half of the channels by the other half of the batch.",
     "ops.split(real, 2, axis=2)[0], ops.split(generated, 2, axis=2)[1]",
     "ops.split(generated, 2, axis=2)[0], ops.split(real, 2, axis=2)[1]",
     "test_each_half_of_the_channels_is_measured_by_its_half_of_the_batch"),
    ("virtual-coefficient", "Virtual batch normalization weighs the example by 1 / R instead of 1 / (R + 1).",
     "new = 1.0 / (self.reference_size + 1)",
     "new = 1.0 / self.reference_size",
     "test_equals_the_loops"),
    ("weight-norm-gradient", "Weight normalization's own gradient has the inverse norm squared instead of cubed.",
     "-upstream * inverse * inverse * inverse",
     "-upstream * inverse * inverse",
     "weight_norm and test_gradients_equal_finite_differences"),
    ("weight-norm-start", "The data-dependent initialization doubles each unit's mean instead of taking it away.",
     "ops.where(varies, -mean * factor,",
     "ops.where(varies, mean * factor,",
     "test_pre_activations_have_mean_0_and_the_deviation_asked_for"),
    # GPUs and replicas.
    ("gpu-loops", "Minibatch discrimination loops on a GPU, too.",
     "if projections.shape[0] and (has_gpu() or compiled_by_xla()):",
     "if projections.shape[0] and compiled_by_xla():",
     "test_loops_are_the_cpus_and_those_of_unknown_batches"),
    ("host-keys", "Keys are derived where the step runs, so that the host waits for a GPU.",
     'return tf.device("CPU:0")',
     "return contextlib.nullcontext()",
     "test_imagenets_step_needs_nothing_of_the_host"),
    ("history-sent", "Means of the past are sent from the first replica to all.",
     "assign_here(mean, present + (ops",
     "mean.assign(present + (ops",
     "test_one_step_takes_one_collective_for_each_players_gradients_and_one_for_the_rest"),
    ("replica-finite", "Each replica decides by its own gradients whether a step in float16 is skipped.",
     "return ops.equal(context.all_reduce(tf.distribute.ReduceOp.SUM, others), 0)",
     "return finite",
     "test_all_replicas_skip_a_step_that_is_not_finite_on_one"),
    ("steps-counted", "The training loop tells the model another number of steps.",
     "with at_step(step):",
     "with at_step(step + 1):",
     "test_the_logs_of_a_step_and_the_flag_come_as_one_vector"),
    # Losses.
    ("two-sided-smoothing", "The target of generated data is smoothed, too.",
     "sigmoid_kl_with_logits(fake_logits, 0.0)",
     "sigmoid_kl_with_logits(fake_logits, 0.1)",
     "test_discriminator_loss_agrees_with_the_formula"),
    ("semi-supervised-half", "The generated half of the unsupervised loss counts twice.",
     "-0.5 * mean(ops.log_sigmoid(-_real_logit(",
     "-1.0 * mean(ops.log_sigmoid(-_real_logit(",
     "test_published_form"),
    ("history-count", "Historical averaging's count of the past values stays at 1.",
     "ops.convert_to_tensor(self.count) + 1",
     "ops.convert_to_tensor(self.count)",
     "test_mean_and_penalty_over_the_past_values"),
    ("matching-target", "Feature matching lets the gradient through to the real features.",
     "mean(ops.stop_gradient(real_features), axis=0)",
     "mean(real_features, axis=0)",
     "test_real_side_gets_no_gradient"),
    # Models.
    ("joint-pass-key", "The discriminator's noise in a joint pass is the same at every step.",
     "with drawing_from(self.discriminator, key):",
     "with drawing_from(self.discriminator, tf.constant([0, 0])):",
     "semi_supervised_gan and test_a_step_is_a_function_of_seed_and_step"),
    ("imagenet-pass-key", "The ImageNet discriminator's noise is the same at every step.",
     "with drawing_from(self.discriminator, fold_in(key, 2), assign):",
     "with drawing_from(self.discriminator, tf.constant([0, 0]), assign):",
     "test_the_discriminators_noise_is_a_function_of_seed_and_step"),
    ("generator-objective", "The generator minimises the minimax loss where the non-saturating one is asked for.",
     "form=self.generator_objective",
     'form="minimax"',
     "test_three_steps_equal_the_plain_reimplementation"),
    ("average-before-update", "The running average takes the discriminator's parameters after the update, not before.",
     "self.discriminator_average.update(variables)\n"
     '        self._update("discriminator", tape.gradient(scaled, variables))',
     'self._update("discriminator", tape.gradient(scaled, variables))\n'
     "        self.discriminator_average.update(variables)",
     "test_averaged_logits_equal_the_oracle"),
    ("replica-share", "Gradients are the sum over replicas instead of the mean.",
     "loss / tf.distribute.get_strategy().num_replicas_in_sync",
     "loss",
     "test_two_replicas_equal_one_device"),
    ("replica-key", "All replicas draw the same noise.",
     "0 if context is None else context.replica_id_in_sync_group",
     "0",
     "test_replicas_have_keys_of_their_own"),
    ("sampled-batch", "Every batch of samples is drawn from the same latents.",
     "fold_in(tf.constant([seed, 1], tf.int32), index)",
     "fold_in(tf.constant([seed, 1], tf.int32), 0)",
     "test_images_are_the_generators"),
    ("wanted-batches", "Where only some batches of samples are wanted, as many of the first are drawn.",
     "if batches is None else batches:",
     "if batches is None else range(len(batches)):",
     "test_an_image_is_a_function_of_seed_and_place"),
    # Networks.
    ("imagenet-corruption", "The noise on the ImageNet discriminator's images is left out.",
     'GaussianNoise(0.1, name="corruption")',
     'GaussianNoise(0.0, name="corruption")',
     "test_the_discriminator_sees_minus_one_to_one"),
    # Optimizers.
    ("epsilon-in-the-root", "Adam's constant acts as if it stood outside of the root.",
     "(1 - self.beta_2) / self.beta_2 * self.epsilon",
     "(1 - self.beta_2) / self.beta_2 * self.epsilon**2",
     "test_the_constant_acts_where_the_gradient_is_small"),
    ("annealed-rate", "The learning rate begins to fall after the part of the training in which it should fall.",
     "slope = 1 / (1 - self.start)",
     "slope = 1 / self.start",
     "test_the_published_schedules"),
    # Data.
    ("second-shuffle", "The generator's batches of unlabelled data are the discriminator's again.",
     "self._generator(epoch, _UNLABELLED_2).permutation",
     "self._generator(epoch, _UNLABELLED).permutation",
     "test_the_two_shuffles_are_independent"),
    ("labelled-tiling", "The labelled examples come in the same order in every repetition.",
     "[generator.permutation(count) for _",
     "[np.arange(count) for _",
     "test_labelled_examples_are_tiled_and_shuffled_pass_by_pass"),
    ("hold-out-fraction", "A folder's test set is the part that should stay for training.",
     "int(fraction * len(members))",
     "int((1 - fraction) * len(members))",
     "test_a_part_of_each_class_is_held_out"),
    # Image files.
    ("transparency", "Transparent pixels show what lies behind nothing.",
     "image = Image.alpha_composite(behind, clear).convert(",
     "image = clear.convert(",
     "test_each_case_by_each_reader"),
    ("hidden", "Hidden folders are read.",
     'return name.startswith(".") or',
     'return name.startswith("..") or',
     "test_each_case_by_each_reader"),
    ("splits", "The folders of splits are taken for classes.",
     "    if not splits:",
     "    if splits is not None:",
     "test_splits_are_never_classes"),
    ("unreadable", "Any number of images may be unreadable.",
     "faults / total > max_unreadable or",
     "faults > total or",
     "test_too_many_damaged_files_are_an_error_with_the_whole_list"),
    ("other-data", "A run is tested on data that changed since.",
     "if trained_on != now:",
     "if not trained_on:",
     "test_the_command_says_the_distances_and_takes_the_data_from_elsewhere"),
    # Records.
    ("shard-link", "A shard that is a link to a file elsewhere is read.",
     "disk.open_file(Path(folder) / shard.name, follow=False)",
     "disk.open_file(Path(folder) / shard.name)",
     "test_a_shard_that_is_no_file_of_the_folder_is_not_opened"),
    ("manifest-sums", "A manifest with the right digest may contradict itself.",
     "if problem := next(_contradictions(manifest), None):",
     "if problem := None:",
     "test_a_forged_manifest_with_a_digest_of_its_own_is_refused"),
    ("manifest-schema", "A manifest with the right digest may say anything.",
     'json_files.check(content, _schema(content["format"]), path)',
     "pass",
     "test_a_forged_manifest_with_a_digest_of_its_own_is_refused"),
    ("report-of-another", "A report of another shard is believed.",
     "if shard.name != task.path.name or not whole or",
     "if False and",
     "test_a_forged_report_is_named_and_its_shard_written_anew"),
    ("record-exchanged", "A whole record in the place of another is read.",
     "(content[length:] if checksum is None else _CHECKSUM.pack(checksum))",
     "content[length:]",
     "test_what_changes_after_opening_is_not_read"),
    ("record-label", "A label of no class is read.",
     "if not 0 <= label < self.num_classes:",
     "if label > 10**9:",
     "test_forged_records_are_not_read"),
    ("jpeg-size", "A JPEG of any size is decoded.",
     "with tf.control_dependencies([tf.debugging.assert_equal(size, self.image_shape, message)]):",
     "with tf.control_dependencies([size]) if message is None else contextlib.nullcontext():",
     "test_forged_jpegs_are_not_decoded"),
    ("checked-and-read-again", "A classifier's file is checked, and then read again under its name.",
     "        yield copy, found\n",
     "        yield Path(path), found\n",
     "test_what_was_checked_is_what_is_loaded or test_the_bytes_that_were_checked_are_those_that_are_used"),
    ("restored-functions", "The functions that a SavedModel's objects name are taken for its saver's.",
     "names |= {*node.function.concrete_functions, node.bare_concrete_function.concrete_function_name}",
     "pass",
     "test_what_saves_a_saved_model_is_checked_where_something_else_calls_it"),
    ("promised-bytes", "An array is as large as its header says.",
     "if math.prod(shape) * dtype.itemsize != left:",
     "if False:",
     "test_what_is_not_expected_is_named_and_not_allocated"),
    ("array-bomb", "A small archive may be unpacked to any size.",
     "if unpacked > max(_MOST_TIMES * size, _MOST_BYTES):",
     "if False:",
     "test_a_bomb_is_not_unpacked"),
    ("late-classifier", "A run's directory is made before its classifier is known to be there.",
     "    classifier = scorer(config, data, report)\n",
     "    classifier = None\n",
     "test_a_classifier_that_is_not_there_ends_the_run_before_it_begins"),
    ("manifest-digest", "A manifest that was changed by hand is accepted.",
     "if manifest.digest != digest:",
     "if not digest:",
     "test_a_changed_manifest_is_refused"),
    ("flip", "Images are turned upside down instead of mirrored.",
     "tf.reverse(images, [2])",
     "tf.reverse(images, [1])",
     "test_half_of_the_images_are_mirrored_anew_each_epoch"),
    # Training.
    ("resume-position", "A run that is continued inside an epoch begins the epoch's data again.",
     "self.batches.epoch(self._epoch, self._step_in_epoch)",
     "self.batches.epoch(self._epoch, 0)",
     "test_a_signal_stops_after_the_step_and_the_rest_is_bit_equal"),
    ("stop-signal", "SIGTERM and Ctrl-C are passed over.",
     "            self.signum = signum\n",
     "            self.signum = None\n",
     "test_a_signal_stops_after_the_step_and_the_rest_is_bit_equal"),
    ("checkpoint-digest", "A damaged checkpoint is not compared with its digest.",
     "if open_file_digest(file) != digest:",
     "if not open_file_digest(file):",
     "test_any_flipped_bit_is_noticed"),
    ("repeated-metrics", "A continued run keeps the lines of the steps that it repeats.",
     'if line["step"] <= step)',
     'if line["step"] >= 0)',
     "test_opening_at_a_step_removes_what_is_beyond_it"),
    ("not-finite", "A loss that is NaN or infinite goes unnoticed.",
     "if not np.isfinite(value):",
     "if value is None:",
     "test_a_loss_that_is_not_finite_stops_within_a_step_and_is_named"),
    # Scores.
    ("split-permutation", "The Inception Score's splits are taken in the order of the samples.",
     "rows = order(len(logits), seed)",
     "rows = order(len(logits), None)",
     "test_sorted_by_class_gives_the_same_with_one_split_and_near_it_with_ten"),
    ("frechet-trace", "The Fréchet distance takes the root's trace away once instead of twice.",
     "traces - 2 * trace_of_root(",
     "traces - trace_of_root(",
     "test_closed_forms"),
    ("kernel-diagonal", "The kernel distance counts each sample as a pair with itself.",
     "(values.sum() - np.trace(values)) / (len(values) * (len(values) - 1))",
     "values.mean()",
     "test_it_has_no_bias"),
    ("precision-neighbours", "Precision's radius reaches to one neighbour too few.",
     "real_nearest[:, precision_neighbours]",
     "real_nearest[:, precision_neighbours - 1]",
     "test_equal_the_oracles_in_blocks_of_any_size"),
    ("published-graph-batch", "The published graph's note that there is one image stays.",
     'node.attr.pop("_output_shapes", None)',
     'pass',
     "test_both_protocols_from_both_forms"),
    ("published-graph-flattening", "The published graph's features are flattened for one image.",
     "sizes[:1] = -1",
     "sizes[:1] = 1",
     "test_both_protocols_from_both_forms"),
    ("published-graph-range", "The published graph gets pixels in [-1, 1) before its own scaling.",
     "CUT_INPUTS = {_RESIZE: (0.0, 255.0)",
     "CUT_INPUTS = {_RESIZE: VALUE_RANGE",
     "test_it_gives_what_the_published_procedure_gives"),
    ("unchecked-functions", "A graph's library functions may have any operation.",
     'found += [f"{node.op} in the function {name}" for node in function.node_def if node.op not in known]',
     'found += []',
     "test_a_file_that_a_library_function_writes"),
    ("unchecked-saver", "What saves a SavedModel is not checked, whoever calls it.",
     "for node in nodes if node.name in of_saver), library) - kept",
     "for node in nodes if node.name in of_saver), library)",
     "test_what_saves_a_saved_model_is_checked_where_something_else_calls_it"),
    # Tables.
    ("sample-deviation", "The tables show the population's standard deviation, not the sample's.",
     "_shown(table, np.std(values, ddof=1))",
     "_shown(table, np.std(values, ddof=0))",
     "test_counts_stand_beside_the_papers"),
    # The visual Turing test.
    ("vote-twice", "An answer that is sent twice is taken for that of the next image, too.",
     "position, generated = row",
     "position, generated = max(row[0], _position(connection, number)), row[1]",
     "test_a_hundred_simultaneous_sendings_of_one_answer_count_once"),
    ("interval-of-people", "A study's interval takes every vote as independent instead of drawing annotators.",
     "if people > 1 else 0.0",
     "if people < 1 else 0.0",
     "test_the_bootstrap_draws_people_and_not_votes"),
    # Files.
    ("sync-before-rename", "A file takes its place before its contents are on the disk.",
     "    file.flush()\n            disk.fsync(file.fileno())\n        disk.rename(temporary, path)",
     "    disk.rename(temporary, path)\n            file.flush()\n            disk.fsync(file.fileno())",
     "test_a_file_is_synced_before_the_rename_and_its_folder_after"),
    ("torn-or-damaged", "A line of metrics that is not as it was written is taken for one that was cut short.",
     "            if whole is False:\n                raise DamagedFile(",
     "            if whole is False:\n                break\n                raise DamagedFile(",
     "test_damage_is_named_and_nothing_is_changed or test_every_flipped_bit_of_a_line_is_noticed"),
    ("step-of-its-folder", "A checkpoint is believed to be of the step that its folder names.",
     'if position["step"] != step:', 'if False and position["step"] != step:',
     "test_exchanged_steps_are_noticed or test_a_position_is_believed_in_nothing"),
    ("networks-of-terabytes", "The networks of a run are built before their shapes are compared with its arrays.",
     "        refuse_other_networks(build()[1], saved.arrays, where)\n",
     "        pass\n",
     "test_networks_of_terabytes_are_refused_before_they_are_built"),
    ("removed-in-part", "A checkpoint is removed file by file under its name.",
     "                durable.remove_folder(self.path(old))", "                disk.remove(self.path(old))",
     "test_a_checkpoint_that_goes_is_never_seen_in_part"),
    ("settings-name-files", "A run's settings may name files of settings.",
     "if VERSION_LINE in text.splitlines():\n            with", "if False:\n            with",
     "test_the_settings_of_a_run_name_no_other_file"),
    # Settings.
    ("bound", "Label smoothing of 1 or more is accepted.",
     '"The target of real data is 1 minus this.", low=0, high=0.999999',
     '"The target of real data is 1 minus this.", low=0',
     "test_each_upper_bound_is_checked or test_every_number_has_a_bound"),
    ("refusal", "An untrained generator is accepted as the discriminator's opponent.",
     "if not self.generator_steps and self.unlabelled_weight:",
     "if not self.generator_steps and self.unlabelled_weight < 0:",
     "test_each_combination_is_checked"),
]]
# fmt: on


def main(names):
    if unknown := set(names) - {breakage.name for breakage in BREAKAGES}:
        sys.exit(f"no such breakage: {', '.join(sorted(unknown))}")
    chosen = [breakage for breakage in BREAKAGES if not names or breakage.name in names]
    with tempfile.TemporaryDirectory(prefix="breakages_") as folder:
        copy = Path(folder)
        copy_tracked_files(copy)
        outdated = {breakage: fault for breakage in chosen if (fault := what_is_outdated(copy, breakage))}
        usable = [breakage for breakage in chosen if breakage not in outdated]
        if usable:
            status, lines = run_tests(copy, " or ".join(f"({breakage.tests})" for breakage in usable))
            if status:
                sys.exit("\n".join(["tests fail on the whole package:", *(failures(lines) or lines)]))
        missed = 0
        for breakage in chosen:
            caught, how = (False, outdated[breakage]) if breakage in outdated else try_out(copy, breakage)
            missed += not caught
            print(f"{breakage.name}: {'caught by' if caught else 'MISSED,'} {how}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} caught")
    sys.exit(missed > 0)


def copy_tracked_files(folder):
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    for name in listed.stdout.split("\0"):
        # A file that was moved but not yet added is listed in its old place.
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)


def files_with(folder, text):
    """The Python files below `folder` that hold `text`, each as often as they hold it."""
    files = sorted(folder.rglob("*.py"))
    return [file for file in files for _ in range(file.read_text(encoding="utf-8").count(text))]


def what_is_outdated(copy, breakage):
    """Why a breakage cannot be tried, or nothing."""
    if (count := len(files_with(copy / "igan_tf", breakage.before))) != 1:
        return f"its source text occurs {count} times: {breakage.before!r}"
    unknown = [name for name in named_tests(breakage.tests) if not files_with(copy / "tests", f"def {name}(")]
    return f"no such test: {', '.join(unknown)}" if unknown else ""


def named_tests(expression):
    return re.findall(r"test_\w+", expression)


def try_out(copy, breakage):
    """Whether a test fails with the breakage, and which; or what happened instead."""
    (file,) = files_with(copy / "igan_tf", breakage.before)
    whole = file.read_text(encoding="utf-8")
    file.write_text(whole.replace(breakage.before, breakage.after), encoding="utf-8")
    try:
        status, lines = run_tests(copy, breakage.tests, "-x", limit=SECONDS)
    except subprocess.TimeoutExpired:
        return False, f"{breakage.tests} did not end in {SECONDS} seconds"
    finally:
        file.write_text(whole, encoding="utf-8")
    # 1: tests failed. Other numbers: they could not be run, or there were none.
    if status == 1 and failures(lines):
        return True, failures(lines)[0]
    return False, f"{breakage.tests}: {lines[-1]}. {breakage.breaks}"


def run_tests(copy, expression, *options, limit=None):
    """pytest's exit status and the lines that it prints."""
    names = named_tests(expression)
    files = sorted({str(file) for name in names for file in files_with(copy / "tests", f"def {name}(")})
    command = [sys.executable, "-m", "pytest", "--tb=no", "-p", "no:cacheprovider", *options, "-k", expression, *files]
    # No bytecode, for what is newer would be told by whole seconds; room for a test's name and why it failed.
    settings = {"PYTHONPATH": str(copy), "PYTHONDONTWRITEBYTECODE": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "COLUMNS": "200"}
    environment = os.environ | settings
    ran = subprocess.run(command, cwd=copy, env=environment, timeout=limit, capture_output=True, text=True, check=False)
    return ran.returncode, ran.stdout.splitlines() + ran.stderr.splitlines()


def failures(lines):
    """The tests that failed, each with the beginning of its reason."""
    return [line.split(" ", 1)[1] for line in lines if line.startswith(("FAILED ", "ERROR "))]


if __name__ == "__main__":
    main(sys.argv[1:])
