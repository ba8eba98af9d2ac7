--- How the user's own OpenSSH client is called. Pure: strings in, strings out.

---@class afar.SshOptions
---@field config? string    an ssh_config, instead of the user's and the system's
---@field user? string
---@field port? integer|string
---@field identity? string  a private key's file
---@field options? string[]|table<string, string|number|boolean>  as for `ssh -o`: { "Key=value" } or { Key = "value" }

---@field jump? string|string[]  the hosts on the way, as for `ssh -J`, each [user@]host[:port]
---@field control? boolean|string one connection for several bootstraps and commands: the socket's path (true: in ~/.ssh); kept 10 minutes

local KNOWN = { config = true, user = true, port = true, identity = true, options = true, jump = true, control = true }

-- What a config may say that suits a person at a terminal, but not us. Clients older than 7.6 or 8.7 don't know all of them:
-- what is unknown is ignored, in the config too, where a value of the user's for IgnoreUnknown no longer counts.
local OURS = { "IgnoreUnknown=*", "RemoteCommand=none", "SessionType=default", "StdinNull=no", "ForkAfterAuthentication=no" }

local function check_destination(destination)
  if type(destination) ~= "string" or destination == "" then
    error("ssh: the destination must be a string, as for ssh: [user@]host or a Host of its config", 0)
  elseif destination:find "^%-" then
    error(("ssh: the destination %q begins with a \"-\""):format(destination), 0)
  elseif destination:find "[%c%s]" then
    error(("ssh: the destination %q has a blank or control character in it"):format(destination), 0)
  end
end

local function check_options(opts)
  for name in pairs(opts) do
    if not KNOWN[name] then
      error(("ssh: there is no option %q; config, user, port, identity, jump, control, password, brief, timeout and options are"):format(tostring(name)), 0)
    end
  end
end

local function plain(value)
  if type(value) == "boolean" then return value and "yes" or "no" end
  return tostring(value)
end

--- The `Key=value` of a list or a map; those of a map in the order of their names.
local function assignments(options)
  local found, keys = {}, {}
  for i, option in ipairs(options) do
    found[i] = option
  end
  for key in pairs(options) do
    if type(key) == "string" then keys[#keys + 1] = key end
  end
  table.sort(keys)
  for _, key in ipairs(keys) do
    found[#found + 1] = key .. "=" .. plain(options[key])
  end
  return found
end

--- The hosts on the way in one word.
local function jump_word(jump)
  if jump == nil then return nil end
  local hosts = type(jump) == "table" and jump or { jump }
  for _, host in ipairs(hosts) do check_destination(host) end
  return #hosts > 0 and table.concat(hosts, ",") or nil
end

--- A connection that others share: the first one makes it.
local function control_options(control)
  if not control then return {} end
  local path = control == true and "~/.ssh/afar-%C" or control
  return { "ControlMaster=auto", "ControlPath=" .. path, "ControlPersist=600" }
end

--- The command that runs `command` on `destination`. The first value of an option counts for ssh, so the script's come first,
--- where a wrong name is still an error; then ours, then those of the config.
---@param destination string
---@param opts afar.SshOptions|nil
---@param command string  one word, for the login shell there
---@return string[] argv
local function argv(destination, opts, command)
  opts = opts or {}
  check_destination(destination)
  check_options(opts)
  local words = { "ssh", "-T" }
  local function add(flag, value)
    if value ~= nil then
      words[#words + 1] = flag
      words[#words + 1] = plain(value)
    end
  end
  add("-F", opts.config)
  add("-l", opts.user)
  add("-p", opts.port)
  add("-i", opts.identity)
  add("-J", jump_word(opts.jump))
  for _, list in ipairs { assignments(opts.options or {}), control_options(opts.control), OURS } do
    for _, option in ipairs(list) do
      add("-o", option)
    end
  end
  words[#words + 1] = "--"
  words[#words + 1] = destination
  words[#words + 1] = command
  return words
end

return argv
