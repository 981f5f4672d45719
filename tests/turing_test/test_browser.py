"""Whole studies in Chromium: by mouse, by keyboard alone, by touch at a phone's size; and what goes wrong there."""

import signal
import sqlite3

import pytest

from igan_tf.turing_test.storage import FILE
from tests.turing_test.browser import needs_chromium, open_browser
from tests.turing_test.served import Server, make_study

pytestmark = needs_chromium

SETTINGS = {"trials": 8, "block_size": 4, "practice": 2}
IMAGES = 10  # Practice included.
# A press counts from here on; before it the image has been on show too short a time.
READY = "return typeof accepting === 'boolean' && accepting && !busy && performance.now() - shownAt > REST_MS"
# Two taps on one place within 300 ms are a double tap, whose second the page leaves out.
READY_FOR_A_TAP = f"{READY} && performance.now() - shownAt > 400"
# The largest difference in luminance that WCAG 2.2 asks for in text, level AA.
LEAST_CONTRAST = 4.5


class Study:
    """A served study and a window on it."""

    def __init__(self, server, study_dir, driver):
        self.server, self.study_dir, self.driver = server, study_dir, driver

    def query(self, sql):
        with sqlite3.connect(self.study_dir / FILE) as connection:
            return connection.execute(sql).fetchall()

    def answers(self):
        """Choices of the last annotator, by position."""
        return [
            choice
            for (choice,) in self.query(
                "SELECT choice FROM answers WHERE annotator = (SELECT max(annotator) FROM annotators) ORDER BY position"
            )
        ]

    def truths(self):
        """What the last annotator's images are, by position."""
        return [
            ("real", "generated")[generated]
            for (generated,) in self.query(
                "SELECT generated FROM trials JOIN items USING (item) JOIN sources USING (source) "
                "WHERE annotator = (SELECT max(annotator) FROM annotators) ORDER BY position"
            )
        ]

    def wait(self, condition, what):
        from selenium.webdriver.support.ui import WebDriverWait

        return WebDriverWait(self.driver, 30, poll_frequency=0.02).until(lambda driver: condition(), what)

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def find(self, name):
        return self.driver.find_element("id", name)

    def enter(self):
        """Through the welcome page, by mouse, as someone new."""
        self.driver.delete_all_cookies()
        self.driver.get(self.server.study_link)
        self.driver.find_element("name", "consent").click()
        self.driver.find_element("css selector", "form button").click()
        self.ready()

    def ready(self, condition=READY):
        self.wait(lambda: self.script(condition), "the page never took an answer")

    def number(self):
        return self.find("count").text

    def stands_at(self, answered):
        """Waits for the page to show that so many answers are given."""
        self.wait(
            lambda: self.script("return typeof busy === 'boolean' && current && !busy && current.answered") == answered,
            f"never {answered}",
        )

    def errors(self):
        """What the browser complains of: scripts that fail, and all that the policy blocks."""
        return [line["message"] for line in self.driver.get_log("browser")]

    def go_on(self):
        """Ends a pause if there is one."""
        if self.find("pause").is_displayed():
            self.find("continue").click()


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    driver = open_browser(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module", params=["off", "on"])
def either(request, tmp_path_factory, driver):
    """A study without feedback, then one with it."""
    folder = tmp_path_factory.mktemp("study") / request.param
    make_study(folder, feedback=request.param, feedback_seconds=0.2, **SETTINGS)
    with Server(folder) as server:
        study = Study(server, folder, driver)
        study.feedback = request.param == "on"
        yield study


@pytest.fixture(scope="module")
def study(tmp_path_factory, driver):
    """A study without feedback."""
    folder = tmp_path_factory.mktemp("study") / "plain"
    make_study(folder, **SETTINGS)
    with Server(folder) as server:
        yield Study(server, folder, driver)


def test_a_study_by_mouse(either):
    either.enter()
    choices = ["real" if n % 3 else "generated" for n in range(IMAGES)]
    right = [choice == truth for choice, truth in zip(choices, either.truths())]
    expected = []
    # It shows too briefly to be polled for.
    either.script(
        "window.told = []; new MutationObserver(() => { const text = document.getElementById('feedback').textContent;"
        "if (text) window.told.push(text); }).observe(document.getElementById('feedback'), { childList: true })"
    )
    for place, choice in enumerate(choices):
        either.go_on()
        either.ready()
        either.find(choice).click()
        if either.feedback:
            expected.append(f"{'✓ Right' if right[place] else '✗ Wrong'}: it is {either.truths()[place]}.")
        either.stands_at(place + 1)
        if not either.feedback and place < IMAGES - 1:
            page = either.driver.find_element("tag name", "main").text
            assert "Right" not in page and "Wrong" not in page and "%" not in page
        if place + 1 in (2, 6):
            assert either.find("pause").is_displayed()
            start = 0 if place + 1 == 2 else place - 3
            score = f"{sum(right[start : place + 1])} of {place + 1 - start}" if either.feedback else ""
            assert either.find("pause-score").text == score
    assert either.script("return window.told") == expected
    assert either.find("done").is_displayed()
    assert either.find("done-score").text == f"{sum(right[2:])} of 8"
    assert either.answers() == choices
    assert either.errors() == []


def test_a_study_by_keyboard_alone(study):
    from selenium.webdriver import ActionChains, Keys

    def press(*keys):
        ActionChains(study.driver).send_keys(*keys).perform()

    study.driver.delete_all_cookies()
    study.driver.get(study.server.study_link)
    press(Keys.TAB)
    assert study.script("return document.activeElement.name") == "consent"
    press(Keys.SPACE, Keys.TAB, Keys.ENTER)
    choices = ["generated" if n % 3 else "real" for n in range(IMAGES)]
    for place, choice in enumerate(choices):
        study.ready()
        press({"real": Keys.ARROW_LEFT, "generated": Keys.ARROW_RIGHT}[choice])
        study.stands_at(place + 1)
        if study.find("pause").is_displayed():
            # A screen reader reads on from the new heading; one step further is the button.
            assert study.script("return document.activeElement.id") == "pause-heading"
            press(Keys.TAB)
            assert study.script("return document.activeElement.id") == "continue"
            press(Keys.ENTER)
    assert study.script("return document.activeElement.id") == "done-heading"
    assert study.answers() == choices


def test_the_buttons_by_keyboard(study):
    from selenium.webdriver import ActionChains, Keys

    study.enter()
    study.script("document.getElementById('generated').focus()")
    for place, key in enumerate((Keys.ENTER, Keys.SPACE)):
        study.ready()
        ActionChains(study.driver).send_keys(key).perform()
        study.stands_at(place + 1)
    assert study.answers() == ["generated"] * 2


def test_a_study_on_a_phone(study, tmp_path):
    driver = open_browser(tmp_path / "profile", size=(390, 844), phone=True, density=3)
    try:
        phone = Study(study.server, study.study_dir, driver)
        phone.enter()
        height = phone.script("return innerHeight")
        for place in range(IMAGES):
            phone.go_on()
            phone.ready(READY_FOR_A_TAP)
            assert phone.script("return document.documentElement.scrollWidth") <= 390
            for name in ("real", "generated"):
                box = phone.find(name).rect
                assert box["height"] >= 44 and box["width"] >= 44 and box["y"] + box["height"] <= height
            phone.find("real").click()
            phone.stands_at(place + 1)
        assert phone.find("done").is_displayed() and phone.answers() == ["real"] * IMAGES
        assert phone.errors() == []
    finally:
        driver.quit()


def test_a_double_click_counts_once(study):
    from selenium.webdriver import ActionChains

    study.enter()
    ActionChains(study.driver).double_click(study.find("real")).perform()
    study.stands_at(1)
    study.ready()
    assert study.answers() == ["real"]


def test_a_held_or_hammered_key_counts_once(study):
    from selenium.webdriver import ActionChains, Keys

    study.enter()
    ActionChains(study.driver).send_keys(Keys.ARROW_LEFT * 5).perform()
    study.stands_at(1)
    study.ready()
    study.script(
        "for (let n = 0; n < 5; n += 1) document.dispatchEvent("
        "new KeyboardEvent('keydown', { key: 'ArrowLeft', repeat: true, bubbles: true }))"
    )
    assert study.answers() == ["real"]


def test_a_held_enter_presses_a_button_once(study):
    study.enter()
    prevented = (
        "return [false, true].map(repeat => !document.getElementById('real').dispatchEvent("
        "new KeyboardEvent('keydown', { key: 'Enter', repeat, bubbles: true, cancelable: true })))"
    )
    assert study.script(prevented) == [False, True]


def test_the_number_changes_with_the_image(study):
    study.enter()
    # The next image does not come until it is let go.
    study.script(
        "window.plain = load; window.held = new Promise(resolve => { window.letGo = resolve; });"
        "load = async (token) => { await window.held; return window.plain(token); }"
    )
    study.find("real").click()
    study.wait(lambda: study.answers() == ["real"] and study.script("return !busy"), "never answered")
    assert study.number() == "1 of 2"
    study.script("window.letGo(); load = window.plain")
    study.stands_at(1)
    study.ready()
    assert study.number() == "2 of 2"


def test_reload_back_and_forward(study):
    study.enter()
    study.find("real").click()
    study.stands_at(1)
    for move in (study.driver.refresh, study.driver.refresh):
        move()
        study.stands_at(1)
    study.driver.back()
    study.wait(lambda: "/study/" in study.driver.current_url, "no way back")
    study.driver.forward()
    study.stands_at(1)
    study.ready()
    study.find("generated").click()
    study.stands_at(2)
    assert study.answers() == ["real", "generated"]


def test_a_lost_connection_loses_nothing(study):
    study.enter()
    study.driver.set_network_conditions(offline=True, latency=0, throughput=0)
    try:
        study.find("generated").click()
        study.wait(lambda: "Your answer is kept" in study.find("trouble").text, "nothing said")
        assert study.answers() == []
    finally:
        study.driver.delete_network_conditions()
    study.stands_at(1)
    assert study.answers() == ["generated"] and study.find("trouble").text == ""
    # The failed attempts are what the browser complains of; take them off the list.
    assert all("ERR_INTERNET_DISCONNECTED" in line for line in study.errors())


def test_an_answer_survives_the_death_of_the_server(tmp_path, driver):
    make_study(tmp_path / "study")
    with Server(tmp_path / "study") as server:
        study = Study(server, tmp_path / "study", driver)
        study.enter()
        server.kill()
    study.find("generated").click()
    study.wait(lambda: "Your answer is kept" in study.find("trouble").text, "nothing said")
    with Server(tmp_path / "study", port=server.port):
        study.stands_at(1)
        assert study.answers() == ["generated"]
    study.errors()


def test_a_silent_connection_is_given_up(tmp_path, driver):
    """A server that is stopped takes connections, and says nothing on them."""
    make_study(tmp_path / "study", **SETTINGS)
    with Server(tmp_path / "study") as server:
        study = Study(server, tmp_path / "study", driver)
        study.enter()
        study.script(
            "const plain = AbortSignal.timeout.bind(AbortSignal); AbortSignal.timeout = ms => plain(ms / 50);"
            "window.late = []"
        )
        server.process.send_signal(signal.SIGSTOP)
        try:
            study.find("generated").click()
            study.script("loadOnce('x', 300).catch(() => window.late.push('x'))")
            study.wait(lambda: "Your answer is kept" in study.find("trouble").text, "nothing said")
            study.wait(lambda: study.script("return window.late") == ["x"], "an image is waited for without end")
        finally:
            server.process.send_signal(signal.SIGCONT)
        study.stands_at(1)
        study.ready()
        assert study.answers() == ["generated"] and study.find("trouble").text == ""
    study.errors()


def test_two_windows(study):
    study.enter()
    first = study.driver.current_window_handle
    study.driver.switch_to.new_window("tab")
    study.driver.get(f"{study.server.origin}/annotate")
    study.ready()
    second = study.driver.current_window_handle
    study.driver.switch_to.window(first)
    study.find("real").click()
    study.stands_at(1)
    study.driver.switch_to.window(second)
    # It may have noticed by itself. If not, its answer to the same image must not count.
    study.script("if (current.answered === 0) { shownAt = 0; answer('generated'); }")
    study.stands_at(1)
    assert study.answers() == ["real"]
    study.driver.close()
    study.driver.switch_to.window(first)


def test_a_page_of_someone_before_is_loaded_anew(study):
    study.enter()
    first = study.driver.current_window_handle
    study.driver.switch_to.new_window("tab")
    study.enter()
    study.driver.close()
    study.driver.switch_to.window(first)
    study.find("real").click()
    study.wait(lambda: study.script("return performance.getEntriesByType('navigation')[0].type") == "reload", "stale")
    study.ready()
    assert study.answers() == []
    study.find("generated").click()
    study.stands_at(1)
    assert study.answers() == ["generated"]
    study.errors()


def test_images_are_crisp_and_loaded_ahead_once(study):
    study.enter()
    for place in range(2):
        study.ready()
        image = study.driver.find_element("css selector", "#stage img")
        shown, natural, density = study.script(
            "return [arguments[0].getBoundingClientRect().width, arguments[0].naturalWidth, devicePixelRatio]", image
        )
        assert natural == 8 and (shown * density / natural) % 1 == 0 and shown > 300
        assert image.value_of_css_property("image-rendering") == "pixelated"
        loaded = study.script(
            "return performance.getEntriesByType('resource').map(e => e.name).filter(n => n.includes('/image/'))"
        )
        # The one on show and the next, each asked for once.
        assert len(loaded) == len(set(loaded)) == place + 2
        study.find("real").click()
        study.stands_at(place + 1)


def test_landmarks_names_and_live_regions(study):
    study.enter()
    names = {name: study.find(name).accessible_name for name in ("real", "generated", "progress")}
    assert names == {"real": "Real", "generated": "Generated", "progress": "Images answered"}
    for landmark in ("header", "main", "footer"):
        assert len(study.driver.find_elements("css selector", f"body > {landmark}")) == 1
    assert study.script("return document.documentElement.lang") == "en"
    assert study.find("feedback").get_attribute("role") == "status"
    assert study.find("trouble").get_attribute("role") == "alert"
    assert study.script("return document.getElementById('announcement').textContent") == "Practice image 1 of 2"
    image = study.driver.find_element("css selector", "#stage img")
    assert image.get_attribute("alt") == "Image 1"


def test_light_and_dark_are_legible(study):
    study.enter()
    grounds = []
    for scheme in ("light", "dark"):
        emulated = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
        study.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
        colours = study.script(
            "const style = getComputedStyle(document.documentElement);"
            "return Object.fromEntries(['ground', 'surface', 'ink', 'soft', 'accent', 'on-accent', 'right', 'wrong']"
            ".map(name => [name, style.getPropertyValue('--' + name).trim()]))"
        )
        grounds.append(colours["ground"])
        for text in ("ink", "soft", "accent", "right", "wrong"):
            assert contrast(colours[text], colours["ground"]) >= LEAST_CONTRAST, (scheme, text)
        assert contrast(colours["ink"], colours["surface"]) >= LEAST_CONTRAST
        assert contrast(colours["on-accent"], colours["accent"]) >= LEAST_CONTRAST
    assert contrast(*grounds) > LEAST_CONTRAST


def contrast(first, second):
    """WCAG's ratio of two colours #rrggbb."""
    light, dark = sorted((luminance(first), luminance(second)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour):
    parts = []
    for at in (1, 3, 5):
        value = int(colour[at : at + 2], 16) / 255
        parts.append(value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4)
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_the_results_page_shows_its_figures(study):
    study.driver.get(study.server.results_link)
    figures = study.driver.find_elements("css selector", "figure img")
    assert len(figures) >= 4
    study.wait(lambda: study.script("return [...document.images].every(image => image.complete)"), "figures load")
    assert all(study.script("return arguments[0].naturalWidth", figure) > 500 for figure in figures)
    assert study.errors() == []


def test_the_results_page_renews_itself_and_fits_a_phone(study):
    study.driver.get(study.server.results_link)
    lead = "return document.querySelector('.lead').textContent"
    before = study.script(lead)
    client = study.server.client()
    client.enrol()
    study.script("renew()")
    study.wait(lambda: study.script(lead) != before, "newer numbers appear")
    study.wait(lambda: study.script("return [...document.images].every(image => image.complete)"), "figures load")
    phone = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    study.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", phone)
    widths = study.script(
        "return [document.documentElement, ...document.querySelectorAll('.scroll')]"
        ".map(element => element.scrollWidth - element.clientWidth)"
    )
    desktop = {"width": 1280, "height": 860, "deviceScaleFactor": 1, "mobile": False}
    study.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", desktop)
    assert len(widths) > 1 and max(widths) <= 0
    assert study.errors() == []
