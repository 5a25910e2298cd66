local id, bytes, sha256, n, data, ttl = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6]
local writer, keys = stored()
if writer then
	used(keys, ttl)
	if writer == id then
		return 'ok' -- sent again
	end
	if tonumber(n) > 0 then
		redis.call('UNLINK', unpack(pieces(id, n)))
	end
	return 'exists'
end
local created, own = create(id, bytes, sha256, n, data)
if not created then
	return 'gone'
end
redis.call('PEXPIRE', KEYS[1], ttl)
for _, key in ipairs(own) do
	redis.call('PEXPIRE', key, ttl)
end
return 'ok'
