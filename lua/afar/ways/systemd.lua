--- p:systemd_run{ property = { "MemoryMax=1G" }, uid = "www-data", ... }: a root in a unit of its own that systemd starts, by
--- systemd-run(1) --pipe. Options: uid, gid, property (a string or a list), slice, unit, working_directory, user = true (the user's own
--- manager), setenv. p:machinectl(machine, options): a root in a container that systemd-machined knows, by systemd-run --machine:
--- `machinectl shell` itself has a terminal between, which bytes don't pass unharmed.

local way = require "afar.way"

local FLAGS = { "uid", "gid", "property", "slice", "unit", "working_directory", "user", "setenv", "nice" }

local known = { machine = true }
for _, name in ipairs(FLAGS) do known[name] = true end

local RULES = {
  { what = "no_systemd", "not been booted with systemd", "Failed to connect to bus", "Failed to create bus connection", message = "no systemd answers" },
  { what = "denied", "Access denied", "authentication required", "Permission denied", message = "systemd doesn't allow it" },
  { what = "no_container", "No machine", "Unknown machine", "Failed to .*machine", "Host is down", message = "there is no such machine that runs" },
  { what = "bad_option", "^Failed to ", "^Unknown assignment", message = "systemd refused" },
}

local function words(o, more)
  return way.join("--pipe", "--wait", "--collect", "--quiet", more, way.flags(o, known), "--", way.SHELL)
end

way.define("systemd_run", {
  program = "systemd-run", options = FLAGS, rules = RULES,
  label = function(p, _, o) return ("%s on %s"):format(o.unit or "unit", p.machine.name) end,
  words = function(_, _, o) return words(o, {}) end,
})

way.define("machinectl", {
  program = "systemd-run", target = "the machine", options = FLAGS, rules = RULES,
  label = function(_, machine) return machine end,
  words = function(_, machine, o) return words(o, "--machine=" .. machine) end,
})
