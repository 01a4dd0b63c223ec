"""Finds the commands of this package in shell text."""

import re
import shlex

_ENDS = {";", "&&", "||", "|", "&", "(", ")", ";;"}
_REDIRECTIONS = {">", ">>", "<", "<<", ">&", "&>", "<<<"}


def simple_commands(text: str) -> list[list[str]]:
    """The words of each simple command, without comments and redirections."""
    commands, rest = [], ""
    for line in re.sub(r"\\\n", " ", text).splitlines():
        rest += line
        try:
            words = _words(rest)
        except ValueError:  # a quotation that ends on a later line
            rest += "\n"
            continue
        rest, command = "", []
        for i, word in enumerate(words):
            if word in _ENDS:
                commands.append(command)
                command = []
            elif word not in _REDIRECTIONS and (i == 0 or words[i - 1] not in _REDIRECTIONS):
                command.append(word)
        commands.append(command)
    return [command for command in commands if command]


def _words(line: str) -> list[str]:
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    return list(lexer)


def package_commands(text: str) -> list[list[str]]:
    """The arguments of each call of `mamkpd`, in a container or by another program too."""
    found = []
    for words in simple_commands(text):
        if words[0] in ("docker", "podman", "buildah") and "run" not in words:
            continue
        for i, word in enumerate(words):
            name = word.rpartition("/")[2]
            if name == "mamkpd" or (word == "mamkpd_jax" and words[i - 1] == "-m"):
                found.append(words[i + 1 :])
                break
            if word in ("train.py", "eval.py") and words[i - 1].rpartition("/")[2].startswith("python"):
                found.append([word.removesuffix(".py"), *words[i + 1 :]])
                break
    return found
