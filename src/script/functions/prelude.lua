-- Prepares an interpreter for libraries of functions, after the prelude of scripts. A library's code sees one
-- table of globals, which only looks elsewhere: while the code is loaded, at the few things that it may use
-- then; later, when its functions run, at what scripts have. Both are frozen.
local native, freeze, raising, setfenv = ...
local G, server = _G, server
local pcall, xpcall, setmetatable, next, type, find = pcall, xpcall, setmetatable, next, type, string.find
local handler, absent = __server__err__handler, getmetatable(_G)

-- These are for scripts of EVAL.
freeze(server, false)
server.breakpoint, server.debug, server.replicate_commands = nil, nil, nil
freeze(server, true)

-- The callbacks of each library, by its number; of the one that is being loaded; and whether that has been
-- loaded elsewhere before, so that what it logs is in the log already.
local libraries, callbacks, again = {}, nil, false

local api = {}
for name, value in next, server do
  if type(value) ~= "function" and not find(name, "^REPL_") then api[name] = value end
end
local register = raising(native)
function api.register_function(...)
  local callback = register(...)
  callbacks[#callbacks + 1] = callback
end
function api.log(...)
  if not again then return server.log(...) end
end
freeze(setmetatable(api, absent), true)
local loading = setmetatable({ server = api, redis = api }, absent)
freeze(loading, true)

local switch = {}
local environment = setmetatable({}, switch)
freeze(environment, true)

-- Runs the code of a library.
local function load(id, code, is_again)
  callbacks, again = {}, is_again
  switch.__index = loading
  local ok, fault = pcall(setfenv(code, environment))
  switch.__index = G
  if ok then libraries[id] = callbacks end
  callbacks, again = nil, false
  return ok, fault
end

local function forget(id)
  libraries[id] = nil
end

-- Runs a function of a library that has been loaded.
local callee, keys, args
local function body()
  return callee(keys, args)
end
local function finish(...)
  callee, keys, args = nil, nil, nil
  return ...
end
local function call(id, index, ...)
  switch.__index = G
  callbacks, again = nil, false
  callee, keys, args = libraries[id][index], ...
  return finish(xpcall(body, handler))
end

return load, forget, call
