-- What a call that must fail raises. Each function calls f(...) and fails the spec when that returns.

local afar = require "afar"

local raised = {}

--- The error itself.
function raised.err(f, ...)
  local ok, err = pcall(f, ...)
  assert(not ok, "it raised nothing")
  return err
end

--- Its text, as a person reads it, and the error.
function raised.message(f, ...)
  local err = raised.err(f, ...)
  return tostring(err), err
end

--- The error, whose text must hold `part`.
function raised.saying(part, f, ...)
  local text, err = raised.message(f, ...)
  assert(text:find(part, 1, true), ("%q is not in: %s"):format(part, text))
  return err
end

--- Its name and its text; it must be an error object, and one line.
function raised.named(f, ...)
  local text, err = raised.message(f, ...)
  assert(afar.is_error(err), ("no error object: %s"):format(text))
  assert(not text:find "\n", ("more than a line: %s"):format(text))
  return err.name, text
end

return raised
