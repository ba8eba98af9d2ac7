--- doc/protocol.md and stub/protocol.h say the same.

local ffi = require "ffi"

local function read(path)
  local file = assert(io.open(path))
  local text = file:read "*a"
  file:close()
  return text
end

local function preprocessed()
  local pipe = assert(io.popen "gcc -E -P stub/protocol.h")
  local text = pipe:read "*a"
  pipe:close()
  return (text:sub(text:find "enum afar_op", -1):gsub("_Static_assert%b();", ""))
end

local header = preprocessed()
ffi.cdef(header)

--- struct name -> its fields, in order.
local function structs()
  local all = {}
  for name, body in header:gmatch "struct (afar_%w+)%s*(%b{})" do
    local fields = {}
    for declaration in body:gmatch "[^{};]+" do
      local names = declaration:match "_t (.*)$" or declaration:match "char (.*)$" or declaration:match "struct [%w_]+ (.*)$" or ""
      for field in names:gsub("%b[]", ""):gmatch "[%a_][%w_]*" do
        fields[#fields + 1] = field
      end
    end
    all[name] = fields
  end
  return all
end

--- The tables of the document: { heading = { "offset", "size", "field" }, rows = { { "0", "4", "tag" } ... } }
local function tables()
  local all, current = {}, nil
  for line in (read "doc/protocol.md" .. "\n"):gmatch "([^\n]*)\n" do
    if line:find "^|" then
      local cells = {}
      for cell in line:gmatch "|%s*([^|]-)%s*%f[|]" do
        cells[#cells + 1] = cell
      end
      if not current then
        current = { heading = cells, rows = {} }
        all[#all + 1] = current
      elseif not line:find "^| %-%-%-" then
        current.rows[#current.rows + 1] = cells
      end
    else
      current = nil
    end
  end
  return all
end

local function of_heading(first, second)
  local found = {}
  for _, t in ipairs(tables()) do
    if t.heading[1] == first and t.heading[2] == second then found[#found + 1] = t end
  end
  return found
end

local function has_all(fields, rows)
  local known = {}
  for _, field in ipairs(fields) do
    known[field] = true
  end
  for _, row in ipairs(rows) do
    if not known[row[3]] then return false end
  end
  return true
end

--- The structure that a table is about: the one that has all its fields and the fewest others.
local function struct_of(rows)
  local best
  local all = structs()
  for name, fields in pairs(all) do
    if has_all(fields, rows) and (not best or #fields < #all[best]) then best = name end
  end
  return best
end

describe("the protocol's document", function()
  local described = {}

  for _, t in ipairs(of_heading("offset", "size")) do
    local name = struct_of(t.rows)
    it("tells where the fields are of " .. tostring(name), function()
      assert.is_string(name, "no structure has the field " .. t.rows[1][3] .. " and the others of its table")
      described[name] = true
      for _, row in ipairs(t.rows) do
        local offset, size, field = tonumber(row[1]), tonumber(row[2]), row[3]
        assert.equal(offset, ffi.offsetof("struct " .. name, field), field)
        local value = ffi.new("struct " .. name)
        local type_ = ffi.typeof(value)
        local bytes = 0
        for _, other in ipairs(structs()[name]) do
          local at = ffi.offsetof(type_, other)
          if at > offset and (bytes == 0 or at - offset < bytes) then bytes = at - offset end
        end
        if bytes == 0 then bytes = ffi.sizeof(type_) - offset end
        assert.is_true(size <= bytes and bytes - size < 64, ("%s: %d bytes, there is room for %d"):format(field, size, bytes))
      end
    end)
  end

  it("has a table for each structure that goes over the wire, but the frame, which it draws", function()
    local missing = {}
    for name in pairs(structs()) do
      if not described[name] and name ~= "afar_frame" then missing[#missing + 1] = name end
    end
    assert.same({}, missing)
  end)

  local function numbers(heading, second, prefix, last)
    local t = of_heading(heading, second)[1]
    assert.is_table(t, heading)
    local count = 0
    for _, row in ipairs(t.rows) do
      local number, name = tonumber(row[1]), row[2]
      assert.equal(number, tonumber(ffi.C[prefix .. name]), name)
      count = count + 1
    end
    if last then assert.equal(tonumber(ffi.C[last]), count, "not all are in the table") end
  end

  it("numbers the operations", function() numbers("op", "name", "AFAR_OP_", "AFAR_OP_COUNT") end)
  it("numbers the frames", function() numbers("type", "name", "AFAR_") end)

  it("numbers the flags", function()
    for _, row in ipairs(of_heading("bit", "name")[1].rows) do
      assert.equal(2 ^ tonumber(row[1]), tonumber(ffi.C["AFAR_" .. row[2]]), row[2])
    end
  end)

  it("numbers the kinds of arguments", function()
    for _, row in ipairs(of_heading("kind", "value of the field")[1].rows) do
      local number, name = row[1]:match "^(%d+) (%u+%d*)$"
      assert.equal(tonumber(number), tonumber(ffi.C["AFAR_" .. name]), name)
    end
  end)

  it("is right in what it says of sizes", function()
    assert.equal(64, ffi.sizeof "struct afar_request")
    assert.equal(16, ffi.sizeof "struct afar_reply")
    assert.equal(8, ffi.sizeof "struct afar_frame")
    assert.matches(("%d bytes in all"):format(ffi.sizeof "struct afar_hello"), read "doc/protocol.md")
  end)
end)
