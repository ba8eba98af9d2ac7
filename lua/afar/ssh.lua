--- ssh: the user's own OpenSSH client, with the user's own configuration, gives a root on another machine.

local argv = require "afar.ssh.argv"
local bootstrap = require "afar.bootstrap"
local explain = require "afar.ssh.explain"
local process = require "afar.process"
local way = require "afar.way"

--- p:ssh(destination, options): the root of the machine that OpenSSH's client, run in this process, reaches: with the user's configuration,
--- agent, known hosts and ProxyJump. It needs one connection, and a POSIX shell there; nothing is installed, no file stays. options: config
--- = file, user, port, identity = file, options = { "Key=value" } as for ssh -o, jump = { "host", ... } on the way, control = true (or a
--- path): one connection for several, kept for 10 minutes; name = how errors call the machine (default: the destination). Passwords,
--- passphrases and one-time codes: ssh asks on the host's terminal, if it runs on this machine; password = function(question, before) (or a
--- string) answers instead: ssh gets a terminal of its own. It lives as long as the connection: the program's end, or root:disconnect(),
--- ends all below it.
---@param destination string  as for ssh: [user@]host, or a Host of its configuration
---@param options? table
---@return afar.Process
process.define("ssh", function(self, destination, options)
  local own = {}
  for key, value in pairs(options or {}) do own[key] = value end
  local name = own.name or destination
  local password = own.password
  own.name, own.password = nil, nil
  local words = argv(destination, own, bootstrap.SCRIPT)
  return bootstrap.start(self, "ssh", words, {
    name = name,
    terminal = password ~= nil and way.answerer(self, "ssh", password) or nil,
    explain = function(code, stderr, noise)
      local what, message, hint = explain(code, stderr, noise, destination)
      return what, (message:gsub("^ssh [^ ]*: ", "", 1)), hint
    end,
  })
end)
