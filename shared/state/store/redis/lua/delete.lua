local o = redis.call('HMGET', KEYS[1], 'id', 'pieces', 'used')
local since = tonumber(ARGV[1]) -- ms; 0: in any case
if o[1] and (since == 0 or tonumber(o[3]) < since) then
	redis.call('UNLINK', KEYS[1], unpack(pieces(o[1], o[2])))
end
return 'ok'
