"""Names of people by lists and context: frequent given names, forms of address, Chinese family names. Reaches some, never all.

What it reaches on real texts stands in docs/how-to/cleaner-pii.md. Used by lode/data/mending/identifiers.py.
"""

from __future__ import annotations

_GIVEN = (
    "Aaron Abigail Adam Adrian Ahmed Aisha Alan Albert Alejandro Alex Alexander Alexandra Alexis Ali Alice Alicia Allison Amanda Amber "
    "Amelia Amy Ana Andrea Andreas Andrew Angela Ann Anna Anne Anthony Antonio Arthur Ashley Austin Barbara Ben Benjamin Bernard Beth "
    "Betty Beverly Bill Billy Bob Bobby Brandon Brenda Brian Brittany Bruce Bryan Camille Carl Carlos Carol Caroline Carolyn Catherine "
    "Charles Charlie Charlotte Cheryl Chloe Chris Christian Christina Christine Christopher Claire Colin Craig Cynthia Daniel Danielle "
    "David Deborah Debra Denise Dennis Diana Diane Diego Dmitri Donald Donna Doris Dorothy Douglas Dylan Edward Eleanor Elena Elizabeth "
    "Ella Emily Emma Eric Erik Ethan Eugene Eva Evelyn Fatima Felix Fernando Francis Francisco Frank Fred Gabriel Gary George Gerald "
    "Giovanni Giulia Gloria Grace Greg Gregory Hannah Hans Harold Harry Heather Heinz Helen Helena Henry Howard Hugo Ian Ingrid Irene "
    "Isabella Ivan Jack Jacob Jacqueline James Jamie Jane Janet Janice Jason Javier Jean Jeff Jeffrey Jennifer Jeremy Jerry Jesse "
    "Jessica Jim Jimmy Joan Joe Joel John Johnny Jonathan Jorge Jose Joseph Joshua Joyce Juan Judith Judy Julia Julian Julie Justin "
    "Karen Karl Katherine Kathleen Kathryn Katie Keith Kelly Ken Kenneth Kevin Kim Kimberly Klaus Kristen Kyle Larry Laura Lauren "
    "Lawrence Leon Leonard Linda Lisa Logan Louis Louise Lucas Lucia Luis Luke Madison Manuel Marco Margaret Maria Marie Marilyn Mark "
    "Markus Martha Martin Mary Mason Matthew Megan Melissa Michael Michel Michelle Miguel Mike Mohammed Monica Muhammad Nancy Natalia "
    "Natalie Nathan Nicholas Nicolas Nicole Nina Noah Oliver Olivia Oscar Pablo Pamela Patricia Patrick Paul Paula Pedro Peter Philip "
    "Phillip Pierre Rachel Ralph Randy Raymond Rebecca Ricardo Richard Rick Robert Roberto Roger Ronald Rose Roy Russell Ruth Ryan Sam "
    "Samantha Samuel Sandra Sara Sarah Scott Sean Sergei Sergio Sharon Shirley Simon Sofia Sophia Sophie Stefan Stephanie Stephen Steve "
    "Steven Stuart Susan Sylvia Taylor Teresa Terry Theresa Thomas Tim Timothy Todd Tom Tony Tyler Victor Victoria Vincent Virginia "
    "Vladimir Walter Wayne Wendy William Willie Wolfgang Yusuf Zachary"
)  # fmt: skip
GIVEN = _GIVEN.split()
"""Given names that are seldom another word (no Grant, Will, Mercedes, April), capitalised."""

_ADDRESS = "Mr|Mrs|Ms|Miss|Dr|Prof|Sir|Herr|Frau|Monsieur|Madame|Mme|Se\u00f1or|Se\u00f1ora"
_CAPITAL = "[A-Z\u00c0-\u00d6\u00d8-\u00de][A-Za-z\u00c0-\u024f'\u2019]{1,20}"
LATIN = rf"(?:(?:{_ADDRESS})\.? {_CAPITAL}|(?:{'|'.join(GIVEN)}))(?:[ \-](?:[A-Z]\.? |van |von |de |da )?{_CAPITAL}){{0,2}}"

_FAMILY = (
    "\u738b\u674e\u5f20\u5218\u9648\u6768\u9ec4\u8d75\u5434\u5468\u5f90\u5b59\u9a6c\u6731\u80e1\u90ed\u4f55\u6797\u7f57\u90d1\u6881"
    "\u8c22\u5b8b\u5510\u8bb8\u97e9\u51af\u9093\u66f9\u5f6d\u66fe\u8096\u7530\u8463\u8881\u6f58\u848b\u8521\u4f59\u675c\u53f6\u7a0b"
    "\u82cf\u9b4f\u5415\u4e01\u4efb\u6c88\u59da\u5362\u59dc\u5d14\u949f\u8c2d\u9646\u8303\u6c6a\u5ed6\u77f3\u8d3e\u97e6\u590f\u4ed8"
    "\u65b9\u90b9\u718a\u5b5f\u79e6\u95eb\u859b\u4faf\u767d\u9f99\u6bb5\u90dd\u5b54\u90b5\u53f2\u6bdb\u5e38\u4e07\u987e\u8d56\u6b66"
    "\u5eb7\u8d3a\u4e25\u5c39\u94b1\u65bd\u725b\u6d2a\u9f9a\u6c64\u9676\u9ece\u6e29\u83ab\u6613\u6a0a\u4e54\u6587\u5b89\u6bb7\u989c"
    "\u5e84\u7ae0\u9c81\u502a\u5e9e\u90a2\u4fde\u7fdf\u84dd\u8042\u9f50\u5411\u7533\u845b\u67f4\u4f0d\u8983\u9a86\u5173\u7126\u67f3"
    "\u6b27\u795d\u7eaa\u5c1a\u6bd5\u803f\u82a6\u5de6\u5b63\u7ba1\u7b26\u8f9b\u82d7\u8a79\u66f2\u6b27\u9773\u7941\u6d82\u5170\u7518"
    "\u8f66\u67ef\u962e\u7f2a\u5ba3\u51cc\u9648\u9ad8\u6881\u5b8b\u7ae5\u6c5f\u6885\u76db\u6234\u623f\u88f4\u51b7\u7ea2"
)
CHINESE = rf"(?!\u8463\u4e8b|\u66fe\u4efb|\u4efb[\u671f\u9662\u804c\u6559])[{_FAMILY}][\u4e00-\u9fff]{{1,2}}"
"""Only where nothing Chinese stands beside it: \u5f20\u4f1f\uff0c ..."""
