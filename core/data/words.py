"""Words: what no text should hold, and what people call their columns in the languages they speak.

`role(name)` is decided by whole names only, after case, accents, blanks and signs are dropped:
"Ideal Answer", "RÉPONSE" and "output_text" are known, "answered_by" is not.
"""

import functools
import re
import unicodedata

_WORDS = {
    "messages": """
        messages conversation conversations dialog dialogs dialogue dialogues chat chats turns
        contents chatml messagelist""",
    "system": """
        system systemprompt systemmessage systeminstruction persona
        systemanweisung 系统 系统提示 システム 시스템 система sistema système""",
    "instruction": """
        instruction instructions anweisung anweisungen aufgabe consigne instrucción instrucciones
        instrução instruções istruzione istruzioni instructie opdracht instrukcja polecenie
        instrukce pokyn инструкция задание інструкція talimat yönerge 指令 指示 지시 지시문 명령
        instruktion ohje utasítás instrucțiune hướngdẫn instruksi perintah تعليمات הוראה निर्देश
        οδηγία คำสั่ง""",
    "input": """
        input context inputs eingabe kontext entrée contexte entrada contexto ingresso contesto
        invoer wejście kontekst vstup kontext ввод вход контекст girdi bağlam 输入 輸入 上下文 入力
        文脈 입력 문맥 syöte bemenet intrare đầuvào ngữcảnh masukan konteks مدخل سياق קלט
        είσοδος บริบท""",
    "question": """
        question questions query q prompt prompts user human usermessage userprompt customer
        request enquiry inquiry frage fragen anfrage kundenfrage demande requête pregunta
        preguntas consulta pergunta perguntas domanda domande richiesta vraag vragen pytanie
        pytania zapytanie otázka dotaz otázky вопрос вопросы запрос питання запит soru sorular
        问题 問題 提问 提示 提示词
        问 問 質問 問い 질문 문의 프롬프트 fråga frågor spørgsmål spørsmål
        kysymys kérdés întrebare câuhỏi pertanyaan سؤال السؤال שאלה प्रश्न सवाल ερώτηση คำถาม
        питання пытанне въпрос pitanje klausimas jautājums küsimus""",
    "answer": """
        answer answers a response responses completion completions output outputs outputtext reply
        replies assistant assistantmessage bot gpt solution antwort antworten ausgabe lösung
        réponse réponses sortie respuesta respuestas salida resposta respostas saída risposta
        risposte uscita antwoord antwoorden uitvoer odpowiedź odpowiedzi wyjście odpověď odpovědi
        výstup ответ ответы вывод відповідь cevap cevaplar yanıt yanıtlar çıktı 回答 答案 答 答え
        回复 回覆 输出 輸出 应答 出力 応答 返答 답변 답 대답 응답 출력 svar vastaus válasz kimenet
        răspuns câutrảlời trảlời jawaban keluaran جواب الجواب إجابة الإجابة رد תשובה פלט उत्तर जवाब
        απάντηση คำตอบ отговор odgovor atsakymas atbilde vastus""",
    "history": "history verlauf historique historial",
    "chosen": "chosen accepted preferred chosenresponse responsechosen",
    "rejected": "rejected dispreferred rejectedresponse responserejected",
    "text": """
        text texts document documents content sentence sentences review tweet utterance comment
        message post article dokument satz nachricht kommentar texte phrase texto frase testo
        tekst zdanie věta текст предложение текст metin cümle 文本 文档 正文 句子 文章 テキスト 文書
        텍스트 문장 문서 본문 teksti szöveg vănbản teks نص טקסט पाठ κείμενο ข้อความ""",
    "label": """
        label labels labelname labeltext category categories class classes intent sentiment topic
        tag target kategorie klasse etikett absicht thema étiquette catégorie classe etiqueta
        categoría clase categoria etichetta kategoria etykieta kategorie štítek категория метка
        класс категорія etiket kategori sınıf
        标签 類別 类别 分类 ラベル カテゴリ 라벨 레이블 카테고리
        분류 luokka címke kategória etichetă nhãn تصنيف تسمية תווית श्रेणी ετικέτα ป้ายกำกับ""",
    "note": """
        id ids index idx no nr number num url link source quelle origin dataset date datum time
        timestamp created createdat updated updatedat lang language sprache title titel author
        meta metadata uid uuid key row rowid split license licence version group score rating
        length tokens model unnamed0
        dump filename filepath path languagescore tokencount""",
}

_MODIFIERS = """
    ideal expected correct model reference best gold golden right true suggested sample final
    customer user your our the original full short long my client support agent staff"""


_DIRT = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\ufeff\u200b\ud800-\udfff]")


def clean(text: str) -> str:
    """`text` without control characters, lone surrogates and marks of no width."""
    return _DIRT.sub("", text)


_ASCII_DIRT = bytes([*range(0x09), *range(0x0B, 0x20), 0x7F])
_CONTROLS = re.compile(rb"\xc2[\x80-\x9f]")
_SUSPECT = ("\ufeff", "\u200b", "\ufffd", "Ã", "â€", "å£", "ï¿½")  # the last letter is the rare one
_SUSPECT_TOO = re.compile("Â[\x80-\xbf]")


def is_plain(text: str) -> bool:
    """Whether there is surely nothing in `text` to clean, to even out or to doubt. Quick."""
    try:
        data = text.encode()
    except UnicodeEncodeError:
        return False
    if len(data.translate(None, _ASCII_DIRT)) != len(data):
        return False
    return text.isascii() or not is_doubtful(text, data)


def is_doubtful(text: str, data: bytes) -> bool:
    """Whether `text`, which `data` is in UTF-8, has anything beyond ASCII to clean or to doubt.

    Quick, as a single letter is found at once and a longer mark is looked for where it may be.
    """
    if any(mark[-1] in text and mark in text for mark in _SUSPECT) or _CONTROLS.search(data):
        return True
    return "Â" in text and bool(_SUSPECT_TOO.search(text))


def plain(name: str) -> str:
    """`name` without case, accents, blanks and signs: what two spellings of a word share."""
    letters = unicodedata.normalize("NFKD", name.casefold())
    return "".join(letter for letter in letters if letter.isalnum())


_ROLES = {plain(word): role for role, words in _WORDS.items() for word in words.split()}


@functools.lru_cache(maxsize=4096)
def role(name: str) -> str | None:
    """The role that a column of this name plays, or None where the name does not tell."""
    name = re.sub(r" \(\d+\)$", "", name)  # how a repeated name is numbered
    if known := _ROLES.get(plain(name)):
        return known
    words = name.casefold().replace("_", " ").replace("-", " ").split()
    rest = [word for word in words if word not in _MODIFIERS.split()]
    return _ROLES.get(plain("".join(rest))) if rest and len(rest) < len(words) else None
