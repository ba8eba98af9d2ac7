--- p:sudo(user, options): a root that is another user here, by sudo(8). A password is written on sudo's stdin, never in its arguments
--- or environment: password = a function that is given the question and how often it was asked before (nil gives up), or a string; else
--- who sits at the host's terminal is asked, once sudo wants one. login = true: its home directory and profile; preserve_env = true, or names; group.
--- See sudo(8).

local spawn = require "afar.spawn"
local way = require "afar.way"

local RULES = {
  { what = "denied", "incorrect password", "no password was provided", "a password is required", message = "sudo was not convinced" },
  { what = "not_allowed", "is not in the sudoers", "not allowed to", "may not run sudo", message = "sudo doesn't allow it" },
  { what = "unknown_user", "unknown user", "unknown group", message = "there is no such user" },
  { what = "no_new_privs", "no new privileges", message = "no privileges can be gained here" },
}

-- Not `sudo -i`, which has the dollars of a command expanded before it is run.
local LOGIN = { "/bin/sh", "-l", "-c", "cd; " .. way.SHELL[3] }

way.define("sudo", {
  target = "the user",
  default = "root",
  options = { "password", "login", "preserve_env", "group" },
  rules = RULES,
  label = function(p, user) return ("%s@%s"):format(user, p.machine.name) end,
  words = function(p, user, o)
    local words = { "-u", user }
    if o.group then words = way.join(words, "-g", way.check_word(p, "sudo", "group", o.group)) end
    if o.login then words[#words + 1] = "-H" end
    if o.preserve_env then
      local names = type(o.preserve_env) == "table" and "=" .. table.concat(o.preserve_env, ",") or ""
      words[#words + 1] = "--preserve-env" .. names
    end
    return words
  end,
  -- sudo logs the command that it runs: it is kept short.
  extra = function(p, user, o, opts, spec)
    local prompt = "[" .. spawn.random(16) .. "]"
    local answer = way.answerer(p, "sudo", o.password)
    local question = ("[sudo] password on %s, to become %s: "):format(p.machine.name, user)
    opts.brief = true
    opts.question = { prompt = prompt, answer = function() return answer(question) end }
    for _, word in ipairs { "-S", "-p", prompt, "--", unpack(o.login and LOGIN or way.SHELL) } do spec[#spec + 1] = word end
  end,
})

