--- p:nsenter{ target = pid, mount = true, net = true, ... }: a root in the namespaces of another process, by nsenter(1); it needs /bin/sh
--- in there. Without any of mount, uts, ipc, net, pid, user, cgroup, time it enters all of them; each may also be the path of a namespace.
--- root, wd: true or a directory; setuid, setgid; no_fork. (p:fork():setns(...) needs no shell in there.)

local errors = require "afar.error"
local way = require "afar.way"

local SPACES = { "mount", "uts", "ipc", "net", "pid", "user", "cgroup", "time" }
local OTHERS = { "root", "wd", "setuid", "setgid", "no_fork", "preserve_credentials", "wdns" }

local known, options = {}, { "target" }
for _, list in ipairs { SPACES, OTHERS } do
  for _, name in ipairs(list) do
    known[name] = true
    options[#options + 1] = name
  end
end

local function names_any(o)
  for _, name in ipairs(SPACES) do
    if o[name] ~= nil then return true end
  end
  return false
end

way.define("nsenter", {
  options = options,
  rules = {
    { what = "missing", "cannot open /proc/%d+", "No such file or directory", message = "there is no such process, or namespace" },
    { what = "denied", "Operation not permitted", "Permission denied", message = "its namespaces may not be entered" },
    { what = "bad_option", "^nsenter: ", message = "nsenter refused" },
  },
  label = function(p, _, o) return ("%s on %s"):format(o.target and "namespaces of " .. tostring(o.target) or "namespaces", p.machine.name) end,
  words = function(p, _, o)
    local words = way.flags(o, known)
    if o.target ~= nil then
      local pid = tonumber(type(o.target) == "table" and o.target.pid or o.target)
      if not pid or pid < 1 then error(errors.new(p, "nsenter", nil, "target is a pid, or what has one"), 0) end
      words = way.join(("--target=%d"):format(pid), names_any(o) and {} or "--all", words)
    elseif not names_any(o) then
      error(errors.new(p, "nsenter", nil, "target = PID, or the path of some namespace, is missing"), 0)
    end
    return way.join(words, "--", way.SHELL)
  end,
})
