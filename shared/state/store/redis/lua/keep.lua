local writer, keys = stored()
if not writer then
	return 'absent'
end
keep(keys)
return 'ok'
