-- level
local n = 0
for i, v in ipairs(obj.status.list) do n = n + v end
if obj.status.level:match("^(h%a+)$") == "high" then
  return {status = "Degraded", message = ("%d %s"):format(n, obj.status.level:gsub("g", "%0%0"))}
end
return {status = "Healthy"}
