--- The stubs of all architectures, compressed as gzip(1) does: what goes into a command that is sent over a network.

local stubs = require "afar.stubs"

local packed = {}
for name, bytes in pairs(stubs) do
  local architecture = name:match "^(.*)%.gz$"
  if architecture then packed[architecture] = bytes end
end

return packed
