--- The kept table's block in the memory of a persistent process: written elsewhere first, then committed by one atomic store of its
--- address, so that whoever comes later finds the table before or after a change, never anything between.

local bit = require "bit"
local ffi = require "ffi"
local requests = require "afar.requests"
local errors = require "afar.error"
local greeting = require "afar.greeting"
local plain = require "afar.plain"

local anchor = {}

local HEADER = "afar-kept:%016x%016x%s" -- length, generation, checksum
local HEADER_SIZE = 10 + 16 + 16 + 16
local SIZE_MOST = 64 * 1024 * 1024

--- FNV-1a, 64 bits.
local function checksum(text)
  local hash, prime = ffi.new("uint64_t", 0xcbf29ce484222325ULL), 0x100000001b3ULL
  for i = 1, #text do
    hash = bit.bxor(hash, ffi.cast("uint64_t", text:byte(i))) * prime
  end
  return bit.tohex(hash, 16)
end

--- The bytes of a block.
---@param content table      plain data
---@param generation integer
---@return string
function anchor.block(content, generation)
  local text = plain.encode(content)
  if #text > SIZE_MOST then error(("kept: %d bytes are more than %d"):format(#text, SIZE_MOST), 0) end
  return HEADER:format(#text, generation, checksum(text)) .. text
end

--- Commits a block in place of the one before, in one round trip. Returns where it is.
---@param p afar.Process
---@param at number     address of the anchor
---@param block string
---@return table memory { address =, size = }
function anchor.commit(p, at, block)
  local memory = { address = p.space:alloc(p, #block), size = #block }
  local r = requests.record(p)
  r.args = { n = 0 }
  r:write(memory.address, block)
  r:write(at, greeting.word(memory.address))
  local ok, err = pcall(r.run, r)
  if ok then return memory end
  if errors.is(err) and err.errno then p.space:free(memory.address, memory.size) end
  error(err, 0)
end

local function read(p, address, length)
  local parts, step = {}, p.machine.read_max
  local r = requests.record(p)
  for from = 0, length - 1, step do
    parts[#parts + 1] = r:fetch(address + from, math.min(step, length - from))
    if r.count == 200 or from + step >= length then
      r:run()
      for i, part in ipairs(parts) do
        if type(part) ~= "string" then parts[i] = r:data(part) end
      end
      r = requests.record(p)
    end
  end
  return table.concat(parts)
end

local function damaged(p, why) error(errors.new(p, "reconnect", {}, "its kept table is damaged: " .. why, { name = "kept" }), 0) end

-- ---- what may be in it ----
-- It is in the memory of a process, which may write there what it likes.

local function all(list, is)
  if type(list) ~= "table" then return false end
  for key, value in pairs(list) do
    if not is(value, key) then return false end
  end
  return true
end

local function is_string(value) return type(value) == "string" end

--- A number of an fd, a pid, an address.
local function is_number(value) return type(value) == "number" and value >= 0 and value < 2 ^ 53 and value % 1 == 0 end

local function is_region(region) return type(region) == "table" and is_number(region[1]) and is_number(region[2]) end

local IS_ENTRY = {
  fd = function(raw) return is_number(raw.number) and (raw.fd_kind == nil or is_string(raw.fd_kind)) end,
  child = function(raw) return is_number(raw.pid) and is_number(raw.pidfd) and all(raw.argv, is_string) end,
  data = function(raw) return is_string(raw.text) and pcall(plain.decode, raw.text) end,
}

--- Of a kind that isn't known nothing is used.
local function is_entry(raw, name)
  if not is_string(name) or type(raw) ~= "table" or not is_string(raw.kind) then return false end
  return not IS_ENTRY[raw.kind] or IS_ENTRY[raw.kind](raw)
end

local function is_optional(value, kind) return value == nil or type(value) == kind end

local function are_facts(facts)
  if type(facts) ~= "table" or not is_string(facts.sigmask) or not is_string(facts.nofile) then return false end
  if not is_optional(facts.since, "number") or not is_optional(facts.lease, "number") then return false end
  if facts.own_regions ~= nil and not all(facts.own_regions, is_region) then return false end
  return all(facts.environ, function(value, name) return is_string(value) and is_string(name) end) and all(facts.regions, is_region)
end

local function is_content(content) return type(content) == "table" and are_facts(content.facts) and all(content.entries, is_entry) end

local function decode(p, read_at, at)
  local address = greeting.number(read_at(at, 8))
  if address == 0 then return nil, 0 end
  local header = read_at(address, HEADER_SIZE)
  local length, generation, sum = header:match("^afar%-kept:(" .. ("%x"):rep(16) .. ")(" .. ("%x"):rep(16) .. ")(" .. ("%x"):rep(16) .. ")$")
  length = tonumber(length or "", 16)
  if not length or length > SIZE_MOST then damaged(p, "no header") end
  local text = read_at(address + HEADER_SIZE, length)
  if checksum(text) ~= sum then damaged(p, "another checksum") end
  local ok, content = pcall(plain.decode, text)
  if not ok or not is_content(content) then damaged(p, "not understood") end
  return content, tonumber(generation, 16), { address = address, size = HEADER_SIZE + length }
end

--- What was committed last; nil: nothing was. Needs none of the process's memory.
---@return table? content
---@return integer generation
---@return table? memory { address =, size = }
function anchor.read(p, at)
  return decode(p, function(address, length) return read(p, address, length) end, at)
end

--- The same from outside: by `q`, which sees the process as `pid`. Its host may change the table meanwhile: then it is read again.
---@return table? content
function anchor.peek(q, pid, at)
  local memory = q:open(("/proc/%d/mem"):format(pid))
  local ok, content
  for _ = 1, 5 do
    ok, content = pcall(decode, q, function(address, length) return memory:pread(length, address) end, at)
    if ok then break end
  end
  memory:close()
  if not ok then error(content, 0) end
  return content
end

return anchor
