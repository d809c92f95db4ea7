//! What applies: the meet of request, grant, floor and directive, and why not.
