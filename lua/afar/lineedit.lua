--- A line that is being edited at a terminal, as a state machine: what was typed goes in, what is to be written comes out. It reads and writes
--- nothing itself. Keys are those of readline's emacs mode.

local lineedit = {}

---@class afar.Line
---@field prompt string
---@field chars string[]     of the line, one UTF-8 sequence each
---@field at integer         how many of them are left of the cursor
---@field history string[]   the lines before, the oldest first
---@field width fun(): integer  columns of the terminal
---@field columns fun(words: string[], width: integer): string  how several completions are shown
---@field complete? fun(before: string): integer, string[]  how many bytes before the cursor may be completed, and to what
local Line = {}
Line.__index = Line

local PASTE_ON, PASTE_OFF = "\27[?2004h", "\27[?2004l"

--- The bytes as characters; what is no UTF-8 stays as single bytes.
local function characters(text)
  local chars = {}
  for char in text:gmatch "[%z\1-\127\192-\255]?[\128-\191]*" do
    if char ~= "" then chars[#chars + 1] = char end
  end
  return chars
end

local function shown(char) return char:find "^%c" and " " or char end

--- options: prompt, history, width, complete; pasting: whether a paste of several lines goes on.
function lineedit.new(options)
  local self = setmetatable({ chars = {}, at = 0, first = 1, unread = "", out = "", killed = "" }, Line)
  for key, value in pairs(options) do self[key] = value end
  self.index = #self.history + 1
  self:write(self.prompt .. PASTE_ON)
  return self
end

function Line:write(text) self.out = self.out .. text end

--- What is to be written to the terminal by now.
function Line:output()
  local out = self.out
  self.out = ""
  return out
end

function Line:text() return table.concat(self.chars) end

function Line:before() return table.concat(self.chars, "", 1, self.at) end

--- Draws the line anew: as much of it as one row holds, with the cursor in it.
function Line:draw()
  local prompt = self.search and ("(search) %s: "):format(self.search) or self.prompt
  local room = math.max(1, self.width() - #prompt - 1)
  if self.at < self.first - 1 then self.first = self.at + 1 end
  if self.at - self.first + 1 > room then self.first = self.at - room + 1 end
  local visible = {}
  for i = self.first, math.min(#self.chars, self.first + room - 1) do visible[#visible + 1] = shown(self.chars[i]) end
  self:write(("\r%s%s\27[K\r\27[%dC"):format(prompt, table.concat(visible), #prompt + self.at - self.first + 1))
end

-- ---- changes ----

function Line:insert(text)
  local chars = characters(text)
  local ends = self.at == #self.chars
  for i, char in ipairs(chars) do table.insert(self.chars, self.at + i, char) end
  self.at = self.at + #chars
  if ends and self.first == 1 and #self.prompt + #self.chars < self.width() then
    for _, char in ipairs(chars) do self:write(shown(char)) end
  else
    self:draw()
  end
end

--- Takes the characters from `from` to `to` away, and returns them.
function Line:cut(from, to)
  local taken = table.concat(self.chars, "", from, to)
  for _ = from, to do table.remove(self.chars, from) end
  self.at = math.min(from - 1, #self.chars)
  self:draw()
  return taken
end

function Line:set(text)
  self.chars = characters(text)
  self.at, self.first = #self.chars, 1
  self:draw()
end

function Line:move(at)
  self.at = math.max(0, math.min(#self.chars, at))
  self:draw()
end

local function is_word(char) return char ~= nil and char:find "^[%w_\128-\255]" ~= nil end

function Line:word_left()
  local at = self.at
  while at > 0 and not is_word(self.chars[at]) do at = at - 1 end
  while at > 0 and is_word(self.chars[at]) do at = at - 1 end
  return at
end

function Line:word_right()
  local at = self.at
  while at < #self.chars and not is_word(self.chars[at + 1]) do at = at + 1 end
  while at < #self.chars and is_word(self.chars[at + 1]) do at = at + 1 end
  return at
end

function Line:kill(from, to)
  if from <= to then self.killed = self:cut(from, to) end
end

--- Another line of the history; what was typed is kept behind the last.
function Line:recall(index)
  if index < 1 or index > #self.history + 1 or index == self.index then return end
  if self.index == #self.history + 1 then self.typed = self:text() end
  self.index = index
  self:set(self.history[index] or self.typed)
end

-- ---- completion ----

local function common(words)
  local prefix = words[1]
  for _, word in ipairs(words) do
    while word:sub(1, #prefix) ~= prefix do prefix = prefix:sub(1, -2) end
  end
  return prefix
end

function Line:completed()
  if not self.complete then return end
  local length, words = self.complete(self:before())
  if #words == 0 then return self:write "\7" end
  local more = common(words):sub(length + 1)
  if more ~= "" then return self:insert(more) end
  if #words == 1 then return end
  self:write("\n" .. self.columns(words, self.width()) .. "\n")
  self:draw()
end

-- ---- searching the history ----

--- The newest line before `index` that has what is searched for.
function Line:find(index)
  for i = index, 1, -1 do
    if self.history[i]:find(self.search, 1, true) then
      self.index = i
      return self:set(self.history[i])
    end
  end
  self:write "\7"
  self:draw()
end

--- Returns true where the key is part of the search; any other ends it.
function Line:searching(key)
  if key == "\18" then
    self:find(self.index - 1)
  elseif key == "\127" or key == "\8" then
    self.search = table.concat(characters(self.search), "", 1, math.max(0, #characters(self.search) - 1))
    self:find(#self.history)
  elseif not key:find "^%c" then
    self.search = self.search .. key
    self:find(math.min(self.index, #self.history))
  else
    self.search = nil
    self:draw()
    return key == "\7" or key == "\27"
  end
  return true
end

-- ---- keys ----

local keys = {
  ["\1"] = function(self) self:move(0) end,
  ["\2"] = function(self) self:move(self.at - 1) end,
  ["\4"] = function(self)
    if #self.chars == 0 then return "end" end
    if self.at < #self.chars then
      local at = self.at
      self:cut(at + 1, at + 1)
    end
  end,
  ["\5"] = function(self) self:move(#self.chars) end,
  ["\6"] = function(self) self:move(self.at + 1) end,
  ["\8"] = function(self)
    if self.at > 0 then self:cut(self.at, self.at) end
  end,
  ["\t"] = Line.completed,
  ["\n"] = function() return "line" end,
  ["\11"] = function(self) self:kill(self.at + 1, #self.chars) end,
  ["\12"] = function(self)
    self:write "\27[H\27[2J"
    self:draw()
  end,
  ["\14"] = function(self) self:recall(self.index + 1) end,
  ["\16"] = function(self) self:recall(self.index - 1) end,
  ["\18"] = function(self)
    self.search = ""
    self:draw()
  end,
  ["\21"] = function(self) self:kill(1, self.at) end,
  ["\23"] = function(self)
    local from = self.at
    while from > 0 and self.chars[from]:find "^%s" do from = from - 1 end
    while from > 0 and not self.chars[from]:find "^%s" do from = from - 1 end
    self:kill(from + 1, self.at)
  end,
  ["\25"] = function(self) self:insert(self.killed) end,
  ["\27b"] = function(self) self:move(self:word_left()) end,
  ["\27f"] = function(self) self:move(self:word_right()) end,
  ["\27d"] = function(self) self:kill(self.at + 1, self:word_right()) end,
  ["\27\127"] = function(self) self:kill(self:word_left() + 1, self.at) end,
  ["\27[3~"] = function(self)
    if self.at < #self.chars then self:cut(self.at + 1, self.at + 1) end
  end,
  ["\27[200~"] = function(self) self.pasting = true end,
  ["\27[201~"] = function(self) self.pasting = false end,
}

for name, same in pairs {
  ["\127"] = "\8", ["\r"] = "\n", ["\27[A"] = "\16", ["\27[B"] = "\14", ["\27[C"] = "\6", ["\27[D"] = "\2", ["\27[H"] = "\1", ["\27[F"] = "\5",
  ["\27[1~"] = "\1", ["\27[4~"] = "\5", ["\27[7~"] = "\1", ["\27[8~"] = "\5", ["\27[1;5C"] = "\27f", ["\27[1;5D"] = "\27b", ["\27[1;3C"] = "\27f",
  ["\27[1;3D"] = "\27b", ["\27OA"] = "\16", ["\27OB"] = "\14", ["\27OC"] = "\6", ["\27OD"] = "\2", ["\27OH"] = "\1", ["\27OF"] = "\5",
} do
  keys[name] = keys[same]
end

local SEQUENCES = { "^\27%[[%d;?]*[%a~]", "^\27O%a", "^\27[^%[O]", "^[\192-\223][\128-\191]", "^[\224-\239][\128-\191][\128-\191]" }
local PARTS = { "^\27%[?[%d;?]*$", "^\27O$", "^[\192-\247]$", "^[\224-\247][\128-\191]$", "^[\240-\247][\128-\191][\128-\191]$" }
SEQUENCES[#SEQUENCES + 1] = "^[\240-\247][\128-\191][\128-\191][\128-\191]"

--- The next key of what was typed; nil when only a part of it has come.
local function next_key(text)
  for _, pattern in ipairs(SEQUENCES) do
    local key = text:match(pattern)
    if key then return key end
  end
  for _, pattern in ipairs(PARTS) do
    if text:find(pattern) then return nil end
  end
  return text:sub(1, 1)
end

function Line:press(key)
  if self.pasting and key ~= "\27[201~" and key ~= "\n" and key ~= "\r" then return self:insert(key) end
  if self.search and self:searching(key) then return end
  local action = keys[key]
  if action then return action(self) end
  if not key:find "^%c" then self:insert(key) end
end

--- Takes what was typed. Returns "line" when the line is done (its text is :text()), "end" at Ctrl-D in an empty one, or nil; and what was typed
--- behind it, for the next one.
---@param typed string
---@return "line"|"end"|nil, string?
function Line:feed(typed)
  self.unread = self.unread .. typed
  while self.unread ~= "" do
    local key = next_key(self.unread)
    if not key then return end
    self.unread = self.unread:sub(#key + 1)
    local done = self:press(key)
    if done then
      if self.at < #self.chars then self:move(#self.chars) end
      self:write(done == "line" and PASTE_OFF .. "\n" or PASTE_OFF)
      return done, self.unread
    end
  end
end

--- Ctrl-C has ended it.
function Line:abandon() self:write("^C" .. PASTE_OFF) end

return lineedit
