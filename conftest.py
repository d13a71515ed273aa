"""Settings that hold for unit tests and for the chapters that nbval runs."""

from tools import kernel_env

kernel_env.apply()
