--- p:su(user, options): a root that is another user here, by su(1) of util-linux; for who is root it needs no password. A password is
--- written on su's stdin, never in its arguments or environment: see p:sudo for where it comes from. login = true: as `su -l`; group.

local way = require "afar.way"

-- What su itself says is in the language of the place, unless told otherwise; what runs below has its own language again.
local PLAIN = { LC_ALL = "C", LANGUAGE = "C" }

way.define("su", {
  target = "the user",
  default = "root",
  options = { "password", "login", "group" },
  rules = {
    { what = "denied", "Authentication failure", "Permission denied", message = "su was not convinced" },
    { what = "unknown_user", "user .* does not exist", "group .* does not exist", message = "there is no such user" },
    { what = "no_shell", "account is currently not available", "This account", message = "the account is locked" },
  },
  label = function(p, user) return ("%s@%s"):format(user, p.machine.name) end,
  words = function(p, user, o)
    local words = { "-s", "/bin/sh" }
    if o.login then words[#words + 1] = "-l" end
    if o.group then words = way.join(words, "-g", way.check_word(p, "su", "group", o.group)) end
    return way.join(words, "-c", way.SHELL[3], "--", user)
  end,
  extra = function(p, user, o, opts, spec)
    local answer = way.answerer(p, "su", o.password)
    local question = ("[su] password of %s on %s: "):format(user, p.machine.name)
    opts.question = { prompt = "Password: ", answer = function() return answer(question) end }
    spec.env = {}
    for name, value in pairs(o.env or {}) do spec.env[name] = value end
    for name, value in pairs(PLAIN) do spec.env[name] = value end
    opts.environ = { LC_ALL = p.environ.LC_ALL or false, LANGUAGE = p.environ.LANGUAGE or false }
  end,
})
