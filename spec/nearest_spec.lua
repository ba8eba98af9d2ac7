local nearest = require "afar.nearest"

describe("nearest", function()
  local keys = { open = 1, openat = 1, close = 1, read = 1, pread = 1, readv = 1, [7] = 1, stat = 1, fstat = 1, lstat = 1 }

  it("finds what is one slip away", function()
    assert.equal("close", nearest("clsoe", keys))
    assert.equal("close", nearest("clos", keys))
    assert.equal("close", nearest("closse", keys))
    assert.equal("close", nearest("clone", keys))
    assert.equal("openat", nearest("opneat", keys))
  end)

  it("cares nothing for capitals", function() assert.equal("openat", nearest("OpenAt", keys)) end)

  it("takes the first by alphabet of equally near ones", function()
    assert.equal("fstat", nearest("xstat", { lstat = 1, fstat = 1 }))
    assert.equal("pread", nearest("xread", { vread = 1, pread = 1 }))
  end)

  it("prefers the nearer one", function() assert.equal("readv", nearest("raedv", keys)) end)

  it("gives nothing where nothing is near", function()
    assert.is_nil(nearest("mount", keys))
    assert.is_nil(nearest("x", keys))
    assert.is_nil(nearest("", keys))
    assert.is_nil(nearest("open", {}))
  end)
end)
