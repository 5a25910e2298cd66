local writer, keys = stored()
if not writer then
	return 'absent'
end
used(keys, ARGV[1])
return 'exists'
