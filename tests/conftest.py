"""Devices of the test run: two logical CPUs, so that every test can stand up a `MirroredStrategy`."""

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

    # Has to come before anything that makes TensorFlow start its devices.
    cpu = tf.config.list_physical_devices("CPU")[0]
    tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
