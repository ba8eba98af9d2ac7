--- p:setpriv{ reuid = "nobody", regid = "nogroup", clear_groups = true, no_new_privs = true, bounding_set = "-all" ... }: a root with other
--- privileges: each option is one of setpriv(1), with underscores for its dashes.

local way = require "afar.way"

local FLAGS = {
  "ambient_caps", "bounding_set", "clear_groups", "egid", "euid", "groups", "inh_caps", "init_groups", "keep_groups", "no_new_privs",
  "pdeathsig", "regid", "reset_env", "reuid", "rgid", "ruid", "securebits", "selinux_label", "apparmor_profile",
}

local known = {}
for _, name in ipairs(FLAGS) do known[name] = true end

way.define("setpriv", {
  options = FLAGS,
  rules = {
    { what = "denied", "Operation not permitted", message = "setpriv may not do it" },
    { what = "bad_option", "^setpriv: ", message = "setpriv refused" },
  },
  label = function(p, _, o) return ("%s@%s"):format(o.reuid or o.euid or "setpriv", p.machine.name) end,
  words = function(_, _, o) return way.join(way.flags(o, known), "--", way.SHELL) end,
})
