"""Knowledge owner's desk at `/desk`: pages rendered on the server, with htmx where a part of one changes."""
