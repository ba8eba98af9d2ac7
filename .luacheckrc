std = "luajit"
max_line_length = 160
codes = true
ignore = { "212/self" }
files["spec/**/*_spec.lua"] = { std = "+busted" }
files["lua/afar/sched.lua"] = { ignore = { "122" } } -- replaces coroutine.resume and wrap
files["lua/afar/exit.lua"] = { ignore = { "122" } } -- replaces os.exit
