-- KEYS[1] is the manifest and KEYS[3] the head. All three are in the app's slot.
local term, epoch, name, knownTerm, knownEpoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local id, bytes, sha256, n, data = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]

-- Terms and epochs have 64 bits, Lua's numbers 53. They are decimal and have no zeros
-- in front.
local function less(a, b)
	return #a < #b or #a == #b and a < b
end

local h = redis.call('HMGET', KEYS[3], 'term', 'epoch', 'manifest')
local head = { h[1] or '0', h[2] or '0', h[3] or '' }
local function answer(what)
	return { what, head[1], head[2], head[3] }
end

if less(head[1], knownTerm) or less(head[2], knownEpoch) then
	return answer('lost')
end
if less(term, head[1]) then
	return answer('fenced')
end
if epoch ~= '0' then
	if epoch ~= head[2] or name ~= head[3] then
		if not less(head[2], epoch) then
			return answer('fenced')
		end
	end
	if term ~= head[1] or epoch ~= head[2] then -- or it is there already
		local writer, keys = stored()
		if not writer then
			local created
			created, keys = create(id, bytes, sha256, n, data)
			if not created then
				return answer('gone')
			end
		elseif redis.call('HGET', KEYS[1], 'sha256') ~= sha256 then
			return answer('exists')
		end
		keep(keys)
		if writer and writer ~= id and tonumber(n) > 0 then
			redis.call('UNLINK', unpack(pieces(id, n)))
		end
	end
	head[2], head[3] = epoch, name
end
head[1] = term
redis.call('HSET', KEYS[3], 'term', head[1], 'epoch', head[2], 'manifest', head[3])
return answer('ok')
