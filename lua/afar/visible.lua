--- Text that comes from others as it may be shown on a terminal and in one line: a control character is written as a number, so that it can neither
--- move the cursor nor set the terminal up otherwise.

local NAMED = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\t" }

local function escape(char) return NAMED[char] or ("\\%d"):format(char:byte()) end

--- UTF-8's form of what is a control character in one byte, too.
local function escape_c1(char) return ("\\194\\%d"):format(char:byte(2)) end

---@param text string
---@return string
local function visible(text)
  if not text:find "[%c\194]" then return text end
  return (text:gsub("%c", escape):gsub("\194[\128-\159]", escape_c1))
end

return visible
