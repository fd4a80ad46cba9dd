/*
 * The words of an element are gathered until what follows them tells what they are: a mailbox (","
 * or the end), a name (before "<") or a group's name (before ":"). Words without a dot or "@"
 * between them can only be a name.
 */
#include <string.h>

#include "smtpctl/address_list.h"

struct element {
	char text[ADDRESS_TEXT_MAX + 1]; /* local@domain, without blanks and comments */
	size_t length;
	size_t end; /* in the list's text */
	bool is_name;
	bool is_joined; /* the last was a dot or "@": the next word goes on with it */
	bool has_domain;
	bool is_too_long;
};

void
address_list_init(struct address_list *list, const char *text, size_t length)
{
	*list = (struct address_list){ .text = text, .length = length };
}

static bool
is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* False when a comment doesn't end. */
static bool
skip_blanks(struct address_list *list)
{
	size_t depth = 0;

	for (; list->at < list->length; list->at++) {
		char c = list->text[list->at];

		if (depth > 0 && c == '\\' && list->at + 1 < list->length)
			list->at++;
		else if (c == '(')
			depth++;
		else if (depth > 0 && c == ')')
			depth--;
		else if (depth == 0 && !is_blank(c))
			break;
	}
	return depth == 0;
}

static void
add(struct element *element, const char *text, size_t length)
{
	if (length >= sizeof(element->text) - element->length) {
		element->is_too_long = true;
		return;
	}
	memcpy(element->text + element->length, text, length);
	element->length += length;
	element->text[element->length] = '\0';
}

/* The quoted string or domain literal at hand, up to its end; false when it has none. A folded line
 * in it is unfolded. */
static bool
take_quoted(struct address_list *list, struct element *element, char close)
{
	do {
		char c = list->text[list->at];

		if (c == '\\' && list->at + 1 < list->length) {
			add(element, list->text + list->at, 2);
			list->at++;
		} else if (c != '\r' && c != '\n')
			add(element, &c, 1);
		if (++list->at == list->length)
			return false;
	} while (list->text[list->at] != close);
	add(element, &close, 1);
	list->at++;
	return true;
}

static bool
take_word(struct address_list *list, struct element *element)
{
	char c = list->text[list->at];
	size_t start = list->at;

	if (element->length > 0 && !element->is_joined)
		element->is_name = true;
	element->is_joined = false;
	if (c == '"' || c == '[') {
		if (!take_quoted(list, element, c == '"' ? '"' : ']'))
			return false;
	} else {
		while (list->at < list->length && !is_blank(list->text[list->at]) &&
		    strchr("()<>[]:;@\\,.\"", list->text[list->at]) == NULL)
			list->at++;
		/* A NUL, a backslash or a bracket that closes nothing. */
		if (list->at == start)
			return false;
		add(element, list->text + start, list->at - start);
	}
	element->end = list->at;
	return true;
}

/* Words up to one of `stops`, or the end of the text. False at what can't stand there. */
static bool
take_element(struct address_list *list, struct element *element, const char *stops)
{
	*element = (struct element){ .end = list->at };
	for (;;) {
		char c;

		if (!skip_blanks(list))
			return false;
		if (list->at == list->length)
			return true;
		c = list->text[list->at];
		if (c != '\0' && strchr(stops, c) != NULL)
			return true;
		if (c == '@' || c == '.') {
			/* Programs show addresses as names, unquoted. */
			if (c == '@' && element->has_domain)
				element->is_name = true;
			element->has_domain = element->has_domain || c == '@';
			element->is_joined = true;
			add(element, &c, 1);
			element->end = ++list->at;
		} else if (!take_word(list, element))
			return false;
	}
}

/* "@a,@b:" in front, which nobody has a use for (RFC 5322 4.4). */
static bool
skip_route(struct address_list *list)
{
	struct element element;

	if (!skip_blanks(list))
		return false;
	if (list->at == list->length || list->text[list->at] != '@')
		return true;
	do {
		list->at += list->text[list->at] == ',';
		if (!take_element(list, &element, ",:>") || list->at == list->length ||
		    list->text[list->at] == '>')
			return false;
	} while (list->text[list->at] == ',');
	list->at++;
	return true;
}

/* Behind a "<". */
static bool
take_angle(struct address_list *list, struct element *element)
{
	list->at++;
	if (!skip_route(list) || !take_element(list, element, ">") || list->at == list->length)
		return false;
	list->at++;
	if (!skip_blanks(list))
		return false;
	return list->at == list->length || list->text[list->at] == ',' ||
	    list->text[list->at] == ';';
}

static bool
is_mailbox(const struct element *element, struct address_list_mailbox *mailbox)
{
	if (element->is_name || element->is_too_long)
		return false;
	mailbox->end = element->end;
	return address_parse(element->text, ADDRESS_ALLOW_UTF8 | ADDRESS_ALLOW_BARE_LOCAL,
	           &mailbox->address) == ADDRESS_OK;
}

enum address_list_result
address_list_next(struct address_list *list, struct address_list_mailbox *mailbox)
{
	struct element element;

	for (;;) {
		char stop;

		if (!take_element(list, &element, "<,;:"))
			break;
		stop = list->at == list->length ? '\0' : list->text[list->at];
		if (stop == '<') {
			if (!take_angle(list, &element))
				break;
			/* "<>" is nobody. */
			if (element.length == 0 && !element.is_too_long)
				continue;
			return is_mailbox(&element, mailbox) ? ADDRESS_LIST_MAILBOX
			                                     : ADDRESS_LIST_BAD;
		}
		if (stop == ':') {
			if (list->in_group)
				break;
			list->in_group = true;
			list->at++;
			continue;
		}
		if (element.length > 0 || element.is_too_long)
			return is_mailbox(&element, mailbox) ? ADDRESS_LIST_MAILBOX
			                                     : ADDRESS_LIST_BAD;
		if (stop == '\0')
			return ADDRESS_LIST_END;
		list->in_group = list->in_group && stop != ';';
		list->at++;
	}
	return ADDRESS_LIST_BAD;
}
