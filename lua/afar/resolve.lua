--- Names of hosts and services, resolved where the process is: by that machine's own files, name servers and policy.

local address = require "afar.address"
local errors = require "afar.error"
local inet = require "afar.inet"
local process = require "afar.process"

local TYPES = { STREAM = "SOCK_STREAM", DGRAM = "SOCK_DGRAM", RAW = "SOCK_RAW" }
local PROTOCOLS = { SOCK_STREAM = "tcp", SOCK_DGRAM = "udp" }
local NOT_FOUND = 2 -- getent(1)'s exit code

local function fail(p, args, message, fields) error(errors.new(p, "getaddrinfo", args, message, fields), 0) end

--- What getent says, or nil when it doesn't know the key.
local function getent(p, args, ...)
  local ok, result = pcall(p.run, p, { check = false, "getent", "--", ... })
  if not ok then
    if errors.is(result, "ENOENT") then result.hint = "names are resolved by getent(1), which is not there" end
    error(result, 0)
  end
  if result.status.ok then return result.stdout end
  if result.status.code == NOT_FOUND then return nil end
  fail(p, args, ("getent: %s%s"):format(tostring(result.status), result.stderr ~= "" and "; it said: " .. result.stderr or ""))
end

--- The port of a service by number or by name.
local function port_of(p, args, service, type_)
  if service == nil then return 0 end
  local number = tonumber(service)
  if number then
    if number < 0 or number > 65535 or number % 1 ~= 0 then fail(p, args, ("%s is no port"):format(tostring(service))) end
    return number
  end
  if type(service) ~= "string" then fail(p, args, "the service is a name or a number") end
  local text = getent(p, args, "services", service .. "/" .. (PROTOCOLS[type_] or "tcp"))
  local port = text and text:match "(%d+)/"
  return tonumber(port) or fail(p, args, ("there is no service %q"):format(service), { name = "EAI_SERVICE" })
end

local function of_number(host, port)
  if inet.v4(host) then return address.of { family = "AF_INET", addr = host, port = port } end
  local addr, scope = host:match "^([%x:.]+)%%?(%d*)$"
  if not addr or not inet.v6(addr) then return nil end
  return address.of { family = "AF_INET6", addr = addr, scope_id = tonumber(scope) or 0, port = port }
end

--- Lines "ADDRESS TYPE [NAME]": one for each address, in the order in which they are to be tried.
local function parse(text, port, hints)
  local list = {}
  for host, kind in text:gmatch "(%S+)%s+(%u+)[^\n]*" do
    local a = TYPES[kind] == (hints.socktype or "SOCK_STREAM") and of_number(host, port)
    -- With no IPv6 address getent gives the IPv4 ones in its clothes.
    if a and (hints.family or a.family) == a.family and not a.addr:find "^::ffff:" then list[#list + 1] = a end
  end
  return list
end

--- p:getaddrinfo(host, service, hints): the addresses of a host name, in the order in which they are to be tried, with the service's port: as
--- getaddrinfo(3) finds them on the process's machine. service: a name, a port, or nil. Runs getent(1) there, unless host is an
--- address and service a number. hints: family = "AF_INET" or "AF_INET6"; socktype = "SOCK_DGRAM" ... (default "SOCK_STREAM"). Raises an error named
--- EAI_NONAME when the name isn't known, EAI_SERVICE when the service isn't.
---@param host string
---@param service? string|integer
---@param hints? { family: string, socktype: string }
---@return afar.Address[]
process.define("getaddrinfo", function(self, host, service, hints)
  local args = { n = 2, host, service }
  hints = hints or {}
  if type(host) ~= "string" or host == "" then fail(self, args, "a host's name was expected") end
  local port = port_of(self, args, service, hints.socktype or "SOCK_STREAM")
  local plain = of_number(host, port)
  local list
  if plain then
    list = (hints.family or plain.family) == plain.family and { plain } or {}
  else
    local database = hints.family == "AF_INET" and "ahostsv4" or hints.family == "AF_INET6" and "ahostsv6" or "ahosts"
    list = parse(getent(self, args, database, host) or "", port, hints)
  end
  if #list == 0 then fail(self, args, ("no address of %q is known there"):format(host), { name = "EAI_NONAME" }) end
  return list
end)
