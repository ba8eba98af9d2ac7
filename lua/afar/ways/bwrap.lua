--- p:bwrap{ "--ro-bind", "/", "/", "--unshare-all", ... }: a root inside a sandbox of bubblewrap, whose arguments are the list; see
--- bwrap(1). It needs /bin/sh in there, and a place where a program may be written and executed: "--tmpfs", "/tmp". It ends with this
--- process.

local errors = require "afar.error"
local way = require "afar.way"

way.define("bwrap", {
  rules = {
    { what = "denied", "Operation not permitted", "Permission denied", "No permissions", message = "bwrap may not do it" },
    { what = "no_shell", "execvp /bin/sh", message = "there is no /bin/sh in it" },
    { what = "bad_option", "^bwrap: ", message = "bwrap refused" },
  },
  label = function(p) return "sandbox on " .. p.machine.name end,
  words = function(p, _, o)
    local words = { "--die-with-parent" }
    for i = 1, #o do
      if type(o[i]) ~= "string" then error(errors.new(p, "bwrap", nil, ("argument %d is a %s, not a string"):format(i, type(o[i]))), 0) end
      words[#words + 1] = o[i]
    end
    return way.join(words, "--", way.SHELL)
  end,
})
