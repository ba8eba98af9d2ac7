--- The memory of a cloned process: what the host sets aside for its stack, its block (stub/protocol.h, struct afar_start) and the ring behind that.

local block = {}

--- Bytes below the block, where a signal's frame has room as well. So little of them is in the block's first page that what a process needs while it
--- waits is all in that one: the begin of its stack, and of its block.
block.STACK = 2 * 4096 + 512

--- Sets the memory aside for a child of `parent`; may wait. Returns the block's address.
---@param parent afar.Process
---@return number
function block.alloc(parent) return parent.space:alloc(parent, block.STACK + parent.machine:block_size()) + block.STACK end

--- Gives it back.
---@param space afar.Space
---@param address number  of the block
---@param size number     machine:block_size(), when it was set aside
function block.free(space, address, size) space:free(address - block.STACK, block.STACK + size) end

--- All of it but the ring, of which no other has a part.
---@return { address: number, size: number }
function block.range(address, size) return { address = address - block.STACK, size = block.STACK + size } end

return block
