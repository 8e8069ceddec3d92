"""Health for operators now; pages for newcomers later. The only user of aiohttp.web."""
