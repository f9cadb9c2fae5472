# Runs tuned's own plugin for boot loaders over the files of an image: the active profiles come, are verified, and go again. Prints what
# verify says, as JSON: true, false, or null where there is nothing to verify.
#
# The first argument is a folder with the files of an image; the second one a file with the kernel's command line.
import builtins
import json
import logging
import os
import sys
from unittest.mock import MagicMock

ROOT, CMDLINE = sys.argv[1:]
INSIDE = ("/usr/lib/tuned/", "/etc/", "/boot/", "/sys/devices/system/cpu/")

# What plugins ask the machine with.
for name in ("procfs", "perf", "pyudev"):
    sys.modules[name] = MagicMock()

import tuned.consts as consts
from tuned.plugins.plugin_bootloader import BootloaderPlugin
from tuned.profiles import Factory, Loader, Locator, Merger
from tuned.profiles.variables import Variables
from tuned.utils.commands import commands

logging.disable(logging.CRITICAL)


def inside(function):
    """The same function, for files of the image."""

    def wrapped(path, *args, **kwargs):
        if isinstance(path, str) and (path + "/").startswith(INSIDE):
            path = ROOT + path
        elif path == "/proc/cmdline":
            path = CMDLINE
        return function(path, *args, **kwargs)

    return wrapped


builtins.open = inside(builtins.open)
os.path.isfile = inside(os.path.isfile)
os.path.exists = inside(os.path.exists)
commands.execute = lambda *args, **kwargs: (1, "", "") if kwargs.get("return_err") else (1, "")

with open(consts.ACTIVE_PROFILE_FILE) as file:
    names = file.read().split()
variables = Variables()
profile = Loader(Locator(list(consts.CFG_DEF_PROFILE_DIRS)), Factory(), Merger(), None, variables).load(names)
units = [unit for unit in profile.units.values() if unit.type == "bootloader"]
assert len(units) == 1 and os.path.isfile(consts.GRUB2_TUNED_TEMPLATE_PATH), "tuned does not ask this plugin"

plugin = BootloaderPlugin.__new__(BootloaderPlugin)
plugin._cmd = commands()
plugin._variables = variables
instance = MagicMock()
plugin._instance_init(instance)
options = plugin._get_effective_options(units[0].options)
for name in ("cmdline", "skip_grub_config"):
    getattr(plugin, "_" + name)(True, options[name], False, False, instance)
plugin._instance_post_static(instance, True)
verified = None if options["cmdline"] is None else plugin._cmdline(True, options["cmdline"], True, False, instance)
plugin._instance_unapply_static(instance, consts.ROLLBACK_FULL)
print(json.dumps(verified))
