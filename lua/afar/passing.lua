--- Fds that a program gets: as arguments, kept under their numbers, and listening sockets from 3 on as systemd passes them; see
--- sd_listen_fds(3).

local errors = require "afar.error"
local fds = require "afar.fd"

local passing = {}

local FIRST = 3 -- SD_LISTEN_FDS_START
local CARRIER_LEAST = 10 -- protocol.h, AFAR_FD_CHILD: a child's carrier is there or above
local STREAMS = { stdin = true, stdout = true, stderr = true, fd = true, at = true }

local function is_fd(value) return getmetatable(value) == fds.Fd end
passing.is_fd = is_fd

local function bad(p, message, hint) error(errors.new(p, "exec", nil, message, { hint = hint }), 0) end

--- The sockets' names, as one variable.
local function names_of(p, list)
  local names = list.names
  if names == nil then return false end
  if type(names) ~= "table" or #names ~= #list then bad(p, "listen_fds: names must be a list with a name for each fd") end
  for _, name in ipairs(names) do
    if type(name) ~= "string" or name:find "[:%c]" or #name > 255 then
      bad(p, ("listen_fds: %q is no name for a socket"):format(tostring(name)), "up to 255 characters, without ':'")
    end
  end
  return table.concat(names, ":")
end

local function check_room(p, listen, keep, carrier)
  local most = (carrier or CARRIER_LEAST) - FIRST
  if #listen > most then bad(p, ("listen_fds: %d fds; %d is the most here"):format(#listen, most)) end
  for _, number in ipairs(keep) do
    if number >= FIRST and number < FIRST + #listen and listen[number - FIRST + 1] ~= number then
      local message = "fd %d can't keep its number: listen_fds takes those from %d to %d"
      bad(p, message:format(number, FIRST, FIRST + #listen - 1), 'fd:fcntl("F_DUPFD_CLOEXEC", 20) gives another')
    end
  end
end

local function numbers(p, list, call)
  if type(list) ~= "table" or is_fd(list) then bad(p, call .. ": a list of fds was expected") end
  local all = {}
  for i, fd in ipairs(list) do all[i] = fds.near(fd, p, call) end
  return all
end

--- A copy of what is to be executed in which all fds are numbers: arguments as text, and kept.
---@param p afar.Process  in whose table they are, when it is executed
---@param spec table
---@param carrier? integer  of the process that executes it, where that is there already
function passing.resolve(p, spec, carrier)
  local own = {}
  for key, value in pairs(spec) do
    own[key] = STREAMS[key] and is_fd(value) and fds.near(value, p, key) or value
  end
  own.keep = numbers(p, spec.keep or {}, "keep")
  for i = 1, #spec do
    if is_fd(spec[i]) then
      own.keep[#own.keep + 1] = fds.near(spec[i], p, "argument")
      own[i] = ("%d"):format(own.keep[#own.keep])
    end
  end
  if spec.listen_fds then
    own.listen_fds = numbers(p, spec.listen_fds, "listen_fds")
    own.listen_names = names_of(p, spec.listen_fds)
    check_room(p, own.listen_fds, own.keep, carrier)
  end
  own.given = spec -- keeps its handles from being collected
  return own
end

--- Records that the listening sockets come to their places. All are first copied out of each other's way.
function passing.record_listen(r, spec)
  local C, copies = r.sys.C, {}
  for i, number in ipairs(spec.listen_fds) do
    copies[i] = r:call("fcntl", nil, number, C.F_DUPFD_CLOEXEC, math.max(CARRIER_LEAST, FIRST + #spec.listen_fds))
  end
  for i, copy in ipairs(copies) do
    r:call("dup3", nil, copy, FIRST + i - 1, 0)
  end
end

--- The environment's changes, which tell the program `p` of its sockets.
function passing.environ(p, spec)
  local env = {}
  for name, value in pairs(spec.env or {}) do env[name] = value end
  env.LISTEN_FDS, env.LISTEN_PID, env.LISTEN_FDNAMES = #spec.listen_fds, p.pid, spec.listen_names
  return env
end

return passing
