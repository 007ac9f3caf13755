"""The console: server-rendered pages on which people look at what was decided and change what is governed."""
