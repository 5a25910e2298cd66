-- KEYS[1] is the manifest and KEYS[3] the head. All three are in the app's slot.
local term, epoch, name, knownTerm, knownEpoch = ARGV[1], ARGV[2], ARGV[3], ARGV[4], ARGV[5]
local id, bytes, sha256, n, data = ARGV[6], ARGV[7], ARGV[8], ARGV[9], ARGV[10]
local replaces = ARGV[11] -- the manifest that this one comes in the place of, or ''

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
	local there = epoch == head[2] and name == head[3]
	local swap = replaces ~= '' and not there
	if not there and less(head[2], epoch) == swap then
		return answer('fenced')
	end
	if term ~= head[1] or not there then
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
	if not swap then
		head[2], head[3] = epoch, name
	elseif epoch == head[2] and replaces == head[3] then
		head[3] = name
	end
end
head[1] = term
redis.call('HSET', KEYS[3], 'term', head[1], 'epoch', head[2], 'manifest', head[3])
return answer('ok')
