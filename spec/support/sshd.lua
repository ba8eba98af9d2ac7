--- A throwaway OpenSSH server for specs; what hosts its config has is said in sshd.sh.
---
---   local server = sshd.start()
---   ... server.config, the path of an ssh_config with hosts afar1, afar2, afar3 ...
---   server:stop()

local sshd = {}

---@class spec.Sshd
---@field dir string     folder with its keys and its log; its own, 0700
---@field config string  for `ssh -F`
local Sshd = {}
Sshd.__index = Sshd

local SCRIPT = "spec/support/sshd.sh"

local function output(command)
  local pipe = assert(io.popen(command))
  local text = pipe:read "*a"
  pipe:close()
  return (text:gsub("\n$", ""))
end

--- Starts a server. Raises where it can't.
---@param hosts? integer  how many hosts afar1, afar2 ... its config has; 3 unless told
---@return spec.Sshd
function sshd.start(hosts)
  local parent = output "mktemp -d /tmp/spec-sshd-XXXXXX"
  local dir = parent .. "/sshd"
  local config = output(("sh %s start %s %d 2>&1"):format(SCRIPT, dir, hosts or 3))
  if config ~= dir .. "/config" then
    os.execute("rm -rf " .. parent)
    error("no sshd: " .. config, 2)
  end
  return setmetatable({ dir = dir, parent = parent, config = config }, Sshd)
end

--- What a shell command prints (both streams), and its exit status, with $CONFIG as the config's path.
---@param command string
---@return string text, integer status
function Sshd:output(command)
  local text = output(("CONFIG=%s; export CONFIG; (%s) 2>&1 </dev/null; status=$?; echo; echo $status"):format(self.config, command))
  local shown, status = text:match "^(.-)\n?\n(%d+)$"
  return shown, tonumber(status)
end

--- Ends it with all its sessions, and removes its folder.
function Sshd:stop() os.execute(("sh %s stop %s; rm -rf %s"):format(SCRIPT, self.dir, self.parent)) end

return sshd
