-- What the scripts about one object have in common. KEYS[1] is the object, and KEYS[2]
-- what the keys of its pieces begin with: they are in the same slot.

local function now() -- ms; the server's clock is the same for all processes
	local t = redis.call('TIME')
	return string.format('%.0f', t[1] * 1000 + math.floor(t[2] / 1000))
end

local function pieces(id, n)
	local keys = {}
	for i = 0, tonumber(n) - 1 do
		keys[#keys + 1] = KEYS[2] .. id .. ':' .. i
	end
	return keys
end

local function complete(keys)
	return #keys == 0 or redis.call('EXISTS', unpack(keys)) == #keys
end

-- stored returns the writer and the pieces of the object, nil if there is none. One
-- that lacks a piece, which an eviction can take, is none, and is cleared away.
local function stored()
	local o = redis.call('HMGET', KEYS[1], 'id', 'pieces')
	if not o[1] then
		return nil
	end
	local keys = pieces(o[1], o[2])
	if not complete(keys) then
		redis.call('UNLINK', KEYS[1], unpack(keys))
		return nil
	end
	return o[1], keys
end

-- used says that the object is used now, and lets it live for another ttl, unless it
-- does not expire at all.
local function used(keys, ttl)
	if redis.call('PTTL', KEYS[1]) >= 0 then
		redis.call('PEXPIRE', KEYS[1], ttl)
		for _, key in ipairs(keys) do
			redis.call('PEXPIRE', key, ttl)
		end
	end
	redis.call('HSET', KEYS[1], 'used', now())
end

local function keep(keys)
	redis.call('PERSIST', KEYS[1])
	for _, key in ipairs(keys) do
		redis.call('PERSIST', key)
	end
	redis.call('HSET', KEYS[1], 'used', now())
end

-- create makes the object of its data, or of pieces that were written before. It is
-- false if one of them is gone.
local function create(id, bytes, sha256, n, data)
	local keys = pieces(id, n)
	if not complete(keys) then
		return false
	end
	redis.call('HSET', KEYS[1], 'bytes', bytes, 'used', now(), 'sha256', sha256, 'id', id, 'pieces', n)
	if #keys == 0 then
		redis.call('HSET', KEYS[1], 'data', data)
	end
	return true, keys
end
