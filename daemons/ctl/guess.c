/* SPDX-License-Identifier: Apache-2.0 */
/* guess: see guess.h. Layer daemons/ctl. */
#include "config.h"

#include "ctl/guess.h"

/* Programs that speak one protocol on whatever port, as /proc/PID/comm cuts their names. */
static const struct {
	const char *program, *name, *protocol;
} programs[] = {
	{ "redis-server", "redis", "REDIS" }, { "valkey-server", "redis", "REDIS" },
	{ "keydb-server", "redis", "REDIS" }, { "mysqld", "mysql", "MYSQL" },
	{ "mariadbd", "mysql", "MYSQL" },     { "postgres", "tcp-postgres", "TCP" },
	{ "pgbouncer", "tcp-postgres", "TCP" }, { "mongod", "mongo", "MONGO" },
	{ "memcached", "tcp-memcache", "TCP" }, { "rabbitmq-server", "tcp-amqp", "TCP" },
	{ "mosquitto", "tcp-mqtt", "TCP" },   { "master", "tcp-smtp", "TCP" },
	{ "exim4", "tcp-smtp", "TCP" },       { "dovecot", "tcp-imap", "TCP" },
	{ "vsftpd", "tcp-ftp", "TCP" },       { "slapd", "tcp-ldap", "TCP" },
	{ "etcd", "grpc", "GRPC" },           { "gunicorn", "http", "HTTP" },
	{ "uvicorn", "http", "HTTP" },        { "puma", "http", "HTTP" },
	{ "grafana-server", "http", "HTTP" }, { "grafana", "http", "HTTP" },
	{ "prometheus", "http", "HTTP" },
};

static const struct {
	uint16_t port;
	const char *name, *protocol;
} numbers[] = {
	{ 21, "tcp-ftp", "TCP" },     { 25, "tcp-smtp", "TCP" },    { 80, "http", "HTTP" },
	{ 110, "tcp-pop3", "TCP" },   { 143, "tcp-imap", "TCP" },   { 389, "tcp-ldap", "TCP" },
	{ 443, "https", "HTTPS" },    { 465, "tls-smtps", "TLS" },  { 587, "tcp-smtp", "TCP" },
	{ 636, "tls-ldaps", "TLS" },  { 993, "tls-imaps", "TLS" },  { 995, "tls-pop3s", "TLS" },
	{ 1883, "tcp-mqtt", "TCP" },  { 3000, "http", "HTTP" },     { 3306, "mysql", "MYSQL" },
	{ 4222, "tcp-nats", "TCP" },  { 5000, "http", "HTTP" },     { 5432, "tcp-postgres", "TCP" },
	{ 5672, "tcp-amqp", "TCP" },  { 6379, "redis", "REDIS" },   { 8000, "http", "HTTP" },
	{ 8080, "http", "HTTP" },     { 8081, "http", "HTTP" },     { 8443, "https", "HTTPS" },
	{ 8888, "http", "HTTP" },     { 9090, "http", "HTTP" },     { 9092, "tcp-kafka", "TCP" },
	{ 9200, "http", "HTTP" },     { 11211, "tcp-memcache", "TCP" },
	{ 27017, "mongo", "MONGO" },  { 50051, "grpc", "GRPC" },
};

/* Servers that speak HTTP unless the number says that it is with TLS. */
static const char *const web_servers[] = { "nginx", "apache2", "httpd", "lighttpd", "caddy",
					   "h2o", "varnishd" };

static bool is_web_server(struct str program)
{
	for (size_t i = 0; i < sizeof(web_servers) / sizeof(web_servers[0]); i++)
		if (str_eq(program, str_c(web_servers[i])))
			return true;
	return false;
}

struct guess guess_port(uint16_t port, struct str program)
{
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		if (str_eq(program, str_c(programs[i].program)))
			return (struct guess){ programs[i].name, programs[i].protocol,
					       "the program's name" };
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		if (numbers[i].port == port)
			return (struct guess){ numbers[i].name, numbers[i].protocol,
					       "the port's number" };
	if (is_web_server(program))
		return (struct guess){ "http", "HTTP", "the program's name" };
	return (struct guess){ 0 };
}
