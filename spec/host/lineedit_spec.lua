-- What the keys do at the prompt: the line editor alone, and under a terminal.

local afar = require "afar"
local lineedit = require "afar.lineedit"
local members = require "afar.members"

local here, program = afar.here, os.getenv "AFAR" or "build/afar"

local UP, DOWN, LEFT, HOME, DELETE = "\27[A", "\27[B", "\27[D", "\27[H", "\27[3~"

local function new(options)
  options = options or {}
  return lineedit.new {
    prompt = "> ", history = options.history or {}, width = function() return options.width or 80 end,
    columns = members.columns, complete = options.complete,
  }
end

--- The line after these keys, which may come in pieces.
local function typed(keys, options)
  local line = new(options)
  for _, piece in ipairs(type(keys) == "table" and keys or { keys }) do line:feed(piece) end
  return line:text(), line
end

describe("a line that is edited", function()
  it("is what was typed, and what it comes to by the keys of a shell", function()
    assert.equal("abc", (typed "abc"))
    assert.equal("aXc", (typed("abc" .. LEFT .. "\127X")))
    assert.equal("Xbc", (typed("abc" .. HOME .. DELETE .. "X")))
    assert.equal("abXc", (typed "abc\1\6\6X"))
    assert.equal("one ", (typed "one two\23"))
    assert.equal("two", (typed "one two\1\27d\4"))
    assert.equal("one twotwo", (typed "one two\23\25\25"))
    assert.equal("o", (typed "one\1\6\11"))
    assert.equal("e", (typed "one\2\21"))
    assert.equal("a bX c", (typed("a b c" .. LEFT .. LEFT .. "X")))
    assert.equal("pX:read", (typed "p:read\27b\2X"))
    assert.equal("p:readX", (typed "p:read\1\27f\27fX"))
  end)

  it("is of characters, not of bytes, and keys may come in pieces", function()
    assert.equal("ü", (typed "üñ\127"))
    assert.equal("üXñ", (typed { "ü\195", "\177\27", "[", "DX" }))
    assert.equal("a", (typed { "ab\27[", "3", "~\127" }))
    assert.equal("\255b", (typed "\255ab\2\127"))
  end)

  it("is done by Enter, what comes behind it is for the next; Ctrl-D ends an empty one", function()
    local line = new()
    assert.is_nil(line:feed "ab")
    assert.same({ "line", "next\n" }, { line:feed "c\rnext\n" })
    assert.equal("abc", line:text())
    assert.equal("end", (new():feed "\4"))
    assert.is_nil((new():feed "a\4"))
  end)

  it("may be one of those before", function()
    local history = { "first", "second" }
    assert.equal("second", (typed("x" .. UP, { history = history })))
    assert.equal("first", (typed(UP .. UP .. UP, { history = history })))
    assert.equal("typed", (typed("typed" .. UP .. UP .. DOWN .. DOWN, { history = history })))
    assert.same({ "first", "second" }, history)
  end)

  it("is searched for among those before", function()
    local history = { "p:read_file 'a'", "x = 1", "p:read_file 'b'", "y = 2" }
    assert.equal("p:read_file 'b'", (typed("\18read", { history = history })))
    assert.equal("p:read_file 'a'", (typed("\18read\18", { history = history })))
    assert.equal("x = 1!", (typed("\18x =\5!", { history = history })))
    assert.equal("line", (new({ history = history }):feed "\18read\r"))
  end)

  it("takes what is pasted as it is", function()
    assert.equal("\tx\1", (typed("\27[200~\tx\1\27[201~", { complete = error })))
    local line = new()
    assert.same({ "line", "two\27[201~" }, { line:feed "\27[200~one\rtwo\27[201~" })
    assert.is_true(line.pasting)
  end)

  it("is completed as far as that is sure", function()
    local function complete(before)
      local word, found = before:match "%w*$", {}
      for _, name in ipairs { "read", "reader", "write" } do
        if name:sub(1, #word) == word then found[#found + 1] = name end
      end
      return #word, found
    end
    assert.equal("p:write", (typed("p:w\t", { complete = complete })))
    assert.equal("p:read", (typed("p:r\t", { complete = complete })))
    assert.equal("p:x", (typed("p:x\t", { complete = complete })))
    local _, line = typed("p:read\t", { complete = complete })
    assert.matches("\nread +reader\n.*p:read", line:output())
  end)

  it("is shown with no more than what was typed, where that is enough", function()
    local _, line = typed "abc"
    assert.equal("> \27[?2004habc", line:output())
  end)

  it("is shown in part, where the terminal is narrow", function()
    local _, line = typed("0123456789", { width = 8 })
    local out = line:output():match "[^\r]*\27%[K\r[^\r]*$"
    assert.equal("> 56789\27[K\r\27[7C", out)
    line:feed "\1"
    assert.equal("\r> 01234\27[K\r\27[2C", line:output())
  end)
end)

describe("the prompt at a terminal", function()
  local dir, terminal

  before_each(function() dir = here:mkdtemp "/tmp/lineedit-XXXXXX" end)
  after_each(function()
    terminal:close()
    here:remove_tree(dir)
  end)

  local function start(env)
    env.TERM, env.AFAR_LUA = "xterm", false
    terminal = here:pty { program, env = env }
    terminal:expect "> "
  end

  it("completes what there is, and edits", function()
    start { AFAR_HISTORY = "" }
    terminal:send "afar.is_e\t"
    terminal:expect "afar%.is_error"
    terminal:send "(5\1print(\5)\5)\n"
    terminal:expect "\nfalse\r\n> "
    terminal:send "afar.here:read_f\t '/proc/sys/kernel/ostype'\n"
    terminal:expect "\nLinux\r\n%s*> "
    terminal:send "\4"
    assert.equal(0, terminal:wait().code)
  end)

  it("has the lines of the session before, in a file of the user's alone", function()
    local file = dir .. "/state/afar/history"
    here:mkdir(dir .. "/state")
    for _, text in ipairs { "'one' .. 1\n", UP .. UP .. "\n" } do
      start { XDG_STATE_HOME = dir .. "/state", AFAR_HISTORY = false }
      terminal:send(text)
      terminal:expect "\none1\r\n> "
      terminal:send "\4"
      assert.equal(0, terminal:wait().code)
      terminal:close()
    end
    assert.equal("'one' .. 1\n", here:read_file(file))
    assert.equal("0600", here:stat(file).permissions)
  end)
end)
