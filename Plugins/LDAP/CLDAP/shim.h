#include <ldap.h>
#include <lber.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <netdb.h>
#include <poll.h>
// A connection that somebody else has made; of openldap.h, which not every version installs.
int ldap_init_fd(ber_socket_t fd, int proto, const char *url, LDAP **ldp);


// Macros that Swift does not import.
static const int MARTLET_LDAP_TCP = 1;   // LDAP_PROTO_TCP
static const int MARTLET_LDAP_LOCAL = 3; // LDAP_PROTO_IPC
static const int MARTLET_LDAP_ENTRY = LDAP_RES_SEARCH_ENTRY;
static const int MARTLET_LDAP_REFERENCE = LDAP_RES_SEARCH_REFERENCE;
static const int MARTLET_LDAP_DONE = LDAP_RES_SEARCH_RESULT;
static const int MARTLET_LDAP_BOUND = LDAP_RES_BIND;
static const int MARTLET_LDAP_EXTENDED = LDAP_RES_EXTENDED;
static const int MARTLET_LDAP_TLS12 = LDAP_OPT_X_TLS_PROTOCOL_TLS1_2;
static const int MARTLET_LDAP_MAX_INCOMING = LBER_SB_OPT_SET_MAX_INCOMING;
