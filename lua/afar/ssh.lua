--- ssh: the user's own OpenSSH client, with the user's own configuration, gives a root on another machine.

local argv = require "afar.ssh.argv"
local bootstrap = require "afar.bootstrap"
local errors = require "afar.error"
local explain = require "afar.ssh.explain"
local process = require "afar.process"
local way = require "afar.way"

local function start(p, words, name, destination, o, brief)
  return bootstrap.start(p, "ssh", words, {
    name = name,
    brief = brief,
    timeout = o.timeout,
    terminal = o.password ~= nil and way.answerer(p, "ssh", o.password) or nil,
    explain = function(code, stderr, noise)
      local what, message, hint = explain(code, stderr, noise, destination)
      return what, (message:gsub("^ssh [^ ]*: ", "", 1)), hint
    end,
  })
end

--- Whether the server may have ended the connection because the command was too long for it: dropbear takes 9000 bytes.
local function may_be_too_long(err)
  if not errors.is(err) then return false end
  return err.name == "closed" or (err.stderr or ""):find("request failed on channel", 1, true) ~= nil
end

local OURS = { name = true, password = true, brief = true, timeout = true }

--- p:ssh(destination, options): the root of the machine that OpenSSH's client, run in this process, reaches: with the user's
--- configuration, agent, known hosts and ProxyJump. It needs one connection, and a POSIX shell there; nothing is installed, no file
--- stays. options: config = file, user, port, identity = file, options = { "Key=value" } as for ssh -o, jump = { "host", ... } on the
--- way, control = true (or a path): one connection for several, kept for 10 minutes; name = how errors call the machine (default: the
--- destination). Passwords, passphrases and one-time codes: ssh asks on the host's terminal, if it runs on this machine; password =
--- function(question, before) (or a string) answers instead: ssh gets a terminal of its own. brief = true: the far side's server refuses
--- long commands (dropbear, which is found out otherwise, by a second attempt). timeout = the seconds within which the root must be up
--- (120; false: any time). It lives as long as the connection: the program's end, or root:disconnect(), ends all below it.
---@param destination string  as for ssh: [user@]host, or a Host of its configuration
---@param options? table
---@return afar.Process
process.define("ssh", function(self, destination, options)
  local own, for_client = {}, {}
  for key, value in pairs(options or {}) do
    local into = OURS[key] and own or for_client
    into[key] = value
  end
  local words, name = argv(destination, for_client, bootstrap.SCRIPT), own.name or destination
  if own.brief then return start(self, words, name, destination, own, true) end
  local ok, root = pcall(start, self, words, name, destination, own)
  if ok then return root end
  if not may_be_too_long(root) then error(root, 0) end
  return start(self, words, name, destination, own, true)
end)
