-- Prepares an interpreter: takes away what scripts may not have, builds the tables that they see, and
-- freezes all of it. `native` holds the functions that are written in Rust; each that can fail returns
-- what it fails with first, and is raised here, as errors raised by mlua are no plain Lua values.
--
-- Invariant: what stays reachable for scripts looks nothing up in globals or in tables of theirs.
local native = ...
local freeze, raising, error, type, tostring, select = __freeze, __raising, error, type, tostring, select
local next, rawget = next, rawget
local getmetatable, setmetatable = getmetatable, setmetatable
local raw_pcall, xpcall = pcall, xpcall
local G = _G

local function set(names)
  local result = {}
  for _, name in next, names do result[name] = true end
  return result
end

-- The globals of the peers that are Lua's own. Without `newproxy` scripts have no finalizers, and without
-- `setfenv` no environment but this one.
local allowed = set {
  "string", "math", "table", "os", "coroutine", "_G", "_VERSION", "assert", "collectgarbage", "error",
  "gcinfo", "getmetatable", "ipairs", "load", "loadstring", "next", "pairs", "pcall", "rawequal",
  "rawget", "rawset", "select", "setmetatable", "tonumber", "tostring", "type", "unpack", "xpcall",
}
for name in next, G do
  if not allowed[name] then G[name] = nil end
end
G.os = { clock = os.clock }

-- What a script catches is text where the error was a table with one, as it was before errors were
-- tables.
local function caught(ok, value, ...)
  if not ok then
    if type(value) == "table" then
      local text = rawget(value, "err")
      if type(text) == "string" then value = text end
    elseif type(value) == "userdata" then
      value = tostring(value)
    end
  end
  return ok, value, ...
end
G.pcall = function(...) return caught(raw_pcall(...)) end

local server = {
  call = native.call,
  pcall = native.pcall,
  error_reply = native.error_reply,
  status_reply = native.status_reply,
  sha1hex = raising(native.sha1hex),
  log = raising(native.log),
  setresp = raising(native.setresp),
  set_repl = raising(native.set_repl),
  acl_check_cmd = raising(native.acl_check_cmd),
  LOG_DEBUG = 0, LOG_VERBOSE = 1, LOG_NOTICE = 2, LOG_WARNING = 3,
  REPL_NONE = 0, REPL_AOF = 1, REPL_SLAVE = 2, REPL_REPLICA = 2, REPL_ALL = 3,
}
for name, value in next, native.versions do server[name] = value end
server.breakpoint = function() return false end
server.debug = function() end
server.replicate_commands = function() return true end
G.server, G.redis = server, server

G.math.random = raising(native.random)
G.math.randomseed = raising(native.randomseed)

for name, functions in next, native.libraries do
  local library = {}
  for key, value in next, functions do
    if type(value) == "function" then value = raising(value) end
    library[key] = value
  end
  G[name] = library
end
local codec = native.codec
local function new_codec()
  local library = {}
  local made = codec()
  for key, value in next, made do
    if type(value) == "function" then value = raising(value) end
    library[key] = value
  end
  library.new = new_codec
  return library
end
G.cjson = new_codec()

-- Scripts of the last years call these by name.
G.__redis__err__handler = native.handler
G.__server__err__handler = native.handler

setmetatable(G, {
  __index = function(...)
    if select("#", ...) ~= 2 then
      error("Wrong number of arguments to luaProtectedTableError", 2)
    end
    local _, name = ...
    if type(name) ~= "string" and type(name) ~= "number" then
      error("Second argument to luaProtectedTableError must be a string or number", 2)
    end
    error("Script attempted to access nonexistent global variable '" .. name .. "'", 2)
  end,
})

local frozen = {}
local function protect(t)
  if frozen[t] then return end
  frozen[t] = true
  for _, value in next, t do
    if type(value) == "table" then protect(value) end
  end
  local metatable = getmetatable(t)
  if metatable then protect(metatable) end
  freeze(t, true)
end
protect(G)
protect(getmetatable(""))

local handler = native.handler

-- Runs a script.
local function run(f, keys, argv)
  freeze(G, false)
  G.KEYS, G.ARGV = keys, argv
  freeze(G, true)
  return xpcall(f, handler)
end

return run
