-- Specs that take root: skipped for other users, with the reason.

local afar = require "afar"

local superuser = {}

--- Why this user can't run them; nil for root.
function superuser.missing() return afar.here:getuid() ~= 0 and "needs root" or nil end

--- Skips the `it` that calls it, unless this is root. (busted gives its words to the spec's file alone.)
function superuser.needed()
  if superuser.missing() then getfenv(2).pending(superuser.missing()) end
end

return superuser
