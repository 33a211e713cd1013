//! Plain HTTP: pages, robots.txt, sitemaps; address rules at connection time.
