--- Constants by name, and names for numbers: the methods `const` and `names` of afar.Machine.
local bit = require "bit"
local ffi = require "ffi"
local nearest = require "afar.nearest"

local int64, uint64 = ffi.typeof "int64_t", ffi.typeof "uint64_t"
local constants = {}

local function starts_with(text, prefix) return text:sub(1, #prefix) == prefix end

-- A Lua number where that is exact, else the cdata.
local function plain(value)
  local signed = ffi.cast(int64, value)
  local number = tonumber(signed)
  return ffi.cast(int64, number) == signed and math.abs(number) <= 2 ^ 53 and number or ffi.cast(uint64, value)
end

local function union(a, b)
  if a == 0 then return b end
  return plain(bit.bor(ffi.cast(int64, a), ffi.cast(int64, b)))
end

local function with_prefix(m, prefix)
  local found = {}
  for name, value in pairs(m.C) do
    if starts_with(name, prefix) then found[name] = value end
  end
  return found
end

local function unknown(m, name, prefix, call)
  local upper = name:upper()
  local likely = with_prefix(m, prefix)
  local near = nearest(upper, likely) or nearest(prefix .. upper, likely) or nearest(upper, m.C)
  local hint = near and (" (did you mean %q?)"):format(near) or ""
  error(("%sthere is no constant %q%s"):format(call and call .. ": " or "", name, hint), 0)
end

local function one(m, name, prefix, call)
  local upper = name:upper()
  local number = name:match "^[-%d]" and tonumber(name)
  return m.C[prefix .. upper] or m.C[upper] or m.C[name] or number or unknown(m, name, prefix, call)
end

local function of_string(m, text, prefix, call)
  local result = 0
  for part in (text .. "|"):gmatch "%s*([^|]-)%s*|" do
    result = union(result, one(m, part, prefix, call))
  end
  return result
end

local said = setmetatable({}, { __mode = "k" }) -- machine -> prefix -> text -> number: scripts say the same few again and again

local function of_known_string(m, text, prefix, call)
  local of_machine = said[m] or {}
  said[m] = of_machine
  local of_prefix = of_machine[prefix] or {}
  of_machine[prefix] = of_prefix
  local number = of_prefix[text]
  if not number then
    number = of_string(m, text, prefix, call)
    of_prefix[text] = number
  end
  return number
end

local function of_list(m, list, prefix, call)
  local result = 0
  for _, part in ipairs(list) do
    result = union(result, m:const(part, prefix, call))
  end
  return result
end

--- The number for what a script gave: a number (itself), nil (0), "O_RDONLY|O_CLOEXEC", or a list of such. Names may lack the
--- prefix and be in lower case. Raises a plain string, which names `call` and the constant that is spelled most alike.
---@param value number|string|table|ffi.cdata*|nil
---@param prefix string?  "O_"
---@param call string?    the system call, for the error
---@return number|ffi.cdata*
function constants:const(value, prefix, call)
  local kind = type(value)
  if kind == "number" or kind == "cdata" then return value end
  if kind == "nil" then return 0 end
  if kind == "string" then return of_known_string(self, value, prefix or "", call) end
  if kind == "table" then return of_list(self, value, prefix or "", call) end
  error(("%sa constant is a number, a string or a list, not a %s"):format(call and call .. ": " or "", kind), 0)
end

-- Never shown: second names of a value, masks, what is no flag among flags. A mount's MS_ are shown, not those of msync(2).
local hidden = {}
for name in
  ([[
    O_NDELAY O_ACCMODE AT_EACCESS AT_STATX_SYNC_TYPE AT_RENAME_NOREPLACE AT_RENAME_EXCHANGE AT_RENAME_WHITEOUT
    AT_HANDLE_FID AT_HANDLE_MNT_ID_UNIQUE AT_HANDLE_CONNECTABLE SIGIOT SIGPOLL SIGUNUSED SIGRTMAX AF_LOCAL AF_FILE AF_ROUTE
    PF_LOCAL PF_FILE PF_ROUTE S_IFMT MAP_TYPE MAP_FILE MS_RMT_MASK MS_MGC_VAL MS_MGC_MSK MS_ASYNC MS_INVALIDATE MS_SYNC
    EWOULDBLOCK EDEADLOCK ENOTSUP MSG_EOF MSG_TRYHARD
  ]]):gmatch "%S+"
do
  hidden[name] = true
end
for name in pairs(require("afar.sys.auxv").constants) do
  hidden[name] = true
end

-- What may be shown, the greatest first, so that O_SYNC goes before the O_DSYNC in it; and whether these are flags.
local function find_candidates(m, prefix)
  local list, single, several = {}, 0, 0
  for name, value in pairs(with_prefix(m, prefix)) do
    local mask = name:match "_MASK$" or name:match "_SHIFT$" or name:match "_MAX$"
    if type(value) == "number" and not hidden[name] and not mask then
      list[#list + 1] = { name = name, value = value }
      if value > 0 and math.frexp(value) == 0.5 then
        single = single + 1
      elseif value ~= 0 then
        several = several + 1
      end
    end
  end
  table.sort(list, function(a, b)
    if a.value ~= b.value then return a.value > b.value end
    return a.name < b.name
  end)
  return { list = list, are_flags = 2 * single >= several }
end

local known = setmetatable({}, { __mode = "k" }) -- machine -> prefix -> what find_candidates gave: a search through thousands of names

local function candidates(m, prefix)
  local of_machine = known[m] or {}
  known[m] = of_machine
  of_machine[prefix] = of_machine[prefix] or find_candidates(m, prefix)
  return of_machine[prefix].list, of_machine[prefix].are_flags
end

local function number_text(value, hex)
  if type(value) == "cdata" then return "0x" .. bit.tohex(value, 16):gsub("^0+", "") end
  if value < 0 or not hex then return ("%.0f"):format(value) end
  return "0x" .. bit.tohex(ffi.cast(uint64, value), 16):gsub("^0+(.)", "%1")
end

local function exact(m, list, value, prefix)
  if type(value) == "cdata" then
    for name, other in pairs(with_prefix(m, prefix)) do
      if type(other) == "cdata" and other == value then return name end
    end
  end
  for _, entry in ipairs(list) do
    if entry.value == value then return entry.name end
  end
end

local function flags(list, value)
  local rest, shown = ffi.cast(int64, value), {}
  for _, entry in ipairs(list) do
    local bits = ffi.cast(int64, entry.value)
    if entry.value > 0 and bit.band(rest, bits) == bits then
      rest = bit.band(rest, bit.bnot(bits))
      table.insert(shown, 1, entry.name)
    end
  end
  if rest ~= 0 then shown[#shown + 1] = number_text(plain(rest), true) end
  return shown
end

--- The text for a number: "O_RDWR|O_CLOEXEC", "SIGKILL". What has no name is shown as a number.
---@param value number|ffi.cdata*
---@param prefix string  "O_"
---@return string
function constants:names(value, prefix)
  local list, are_flags = candidates(self, prefix)
  local one_name = exact(self, list, value, prefix)
  if one_name then return one_name end
  if not are_flags or value == 0 or (type(value) == "number" and value < 0) then return number_text(value, false) end
  local shown = flags(list, value)
  if prefix == "O_" and bit.band(ffi.cast(int64, value), 3) == 0 then table.insert(shown, 1, "O_RDONLY") end
  return table.concat(shown, "|")
end

return constants
