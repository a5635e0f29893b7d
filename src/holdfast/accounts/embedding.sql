-- Which sites may show an organizer's shows in a frame.

-- name: embed_origins
-- Of one organizer. Locks nothing.
select embed_origins from organizers where organizer_id = $1;

-- name: set_embed_origins
-- All of them anew. Locks the organizer.
update organizers set embed_origins = $2 where organizer_id = $1;
