--- What is said when a method was called with a dot: `p.open("/etc/hosts")` has the path in the place of its process.

--- Raises, at the line that called the method.
---@param what string  what such an object is: "a process"
---@param short string how the guide writes one: "p"
---@param name string  of the method
---@param got any      what it was given in the object's place
return function(what, short, name, got)
  local shown = type(got) == "string" and ("%q"):format(got) or type(got)
  error(("%s: %s was expected, not %s; is it %s:%s(...), with a colon?"):format(name, what, shown, short, name), 3)
end
