--- p:doas(user, options): a root that is another user here, by doas(1), which takes a password from a terminal only. With password = a
--- function or a string (see p:sudo) doas gets a terminal of its own, on which it is answered; without it, doas asks on the host's terminal
--- by itself, if it runs on this machine, or gets one on which who sits there answers.

local way = require "afar.way"

way.define("doas", {
  target = "the user",
  default = "root",
  options = { "password" },
  rules = {
    { what = "denied", "Authentication failed", "Authentication failure", "Authorization required", "a tty is required", message = "doas was not convinced" },
    { what = "not_allowed", "Operation not permitted", "not permitted", message = "doas doesn't allow it" },
    { what = "unknown_user", "unknown user", message = "there is no such user" },
    { what = "no_config", "doas is not enabled", message = "doas was not set up there" },
  },
  label = function(p, user) return ("%s@%s"):format(user, p.machine.name) end,
  words = function(_, user) return way.join("-u", user, "--", way.SHELL) end,
  extra = function(p, _, o, opts)
    opts.brief = true -- doas logs what it runs
    if o.password ~= nil or not p.machine.local_ then opts.terminal = way.answerer(p, "doas", o.password) end
  end,
})
