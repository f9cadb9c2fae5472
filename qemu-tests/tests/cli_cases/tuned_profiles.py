# Runs tuned's own loader: for each line of standard input, which is names of profiles, one line of JSON with what becomes of them.
# The first line is about tuned itself: the options of each plugin; null where a plugin takes any.
#
# The only argument is a folder with the files of an image. /usr/lib/tuned, /etc/tuned and the processors are looked for there.
import builtins
import importlib
import inspect
import json
import logging
import os
import sys
from unittest.mock import MagicMock

ROOT = sys.argv[1]
INSIDE = ("/usr/lib/tuned/", "/etc/tuned/", "/sys/devices/system/cpu/")

# What plugins ask the machine with.
for name in ("procfs", "perf", "pyudev"):
    sys.modules[name] = MagicMock()

import tuned.consts as consts
import tuned.plugins
from tuned.plugins.base import Plugin
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
        return function(path, *args, **kwargs)

    return wrapped


def plugins():
    options = {}
    for file in os.listdir(tuned.plugins.__path__[0]):
        if file.startswith("plugin_"):
            module = importlib.import_module("tuned.plugins." + file[:-3])
            classes = [one for one in vars(module).values() if inspect.isclass(one) and issubclass(one, Plugin)]
            own = next(one for one in classes if one.__module__ == module.__name__)
            takes_any = "_has_dynamic_options = True" in inspect.getsource(own)
            options[file[len("plugin_"):-3]] = None if takes_any else sorted(own._get_config_options())
    return options


def described(unit, variables):
    unquote = commands().unquote
    found = {key: getattr(unit, key) for key in ("name", "enabled", "priority", "devices", "devices_udev_regex")}
    found.update({key: getattr(unit, key) for key in ("cpuinfo_regex", "uname_regex", "script_pre", "script_post")})
    found["plugin"] = unit.type
    texts = [(name, value) for name, value in unit.options.items() if not isinstance(value, list)]
    found["options"] = [(name, variables.expand(unquote(text) if unit.type == "sysctl" else text)) for name, text in texts]
    found["scripts"] = next((value for value in unit.options.values() if isinstance(value, list)), None)
    if unit.type == "bootloader":
        line = BootloaderPlugin._get_effective_options(BootloaderPlugin.__new__(BootloaderPlugin), unit.options)["cmdline"]
        found["cmdline"] = "" if line is None else variables.expand(unquote(line))
    return found


def load(names):
    variables = Variables()
    profile = Loader(Locator(list(consts.CFG_DEF_PROFILE_DIRS)), Factory(), Merger(), None, variables).load(names)
    return {
        "name": profile.name,
        "main": list(profile.options.items()),
        "variables": {name[len(consts.ENV_PREFIX):]: value for name, value in variables.get_env().items()},
        "units": [described(unit, variables) for unit in profile.units.values()],
    }


print(json.dumps(plugins()))
builtins.open = inside(builtins.open)
os.path.isfile = inside(os.path.isfile)
os.path.exists = inside(os.path.exists)
for names in sys.stdin.read().splitlines():
    try:
        print(json.dumps({"loaded": load(names)}))
    except Exception as error:
        print(json.dumps({"refused": "%s: %s" % (type(error).__name__, error)}))
