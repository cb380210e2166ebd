"""A set reviewed by clicking: the page, the server that it talks to, and the decisions that it saves (`data.review`).

decisions      the rows of a corpus.jsonl as a person decides them: saved at once, undone one by one
server         the page and its pictures on 127.0.0.1, for whoever has the address
page.*         HTML, CSS and plain JavaScript; nothing is fetched from elsewhere
"""
