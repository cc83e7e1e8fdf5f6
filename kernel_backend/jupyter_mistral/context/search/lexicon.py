"""Word lists for `words`, written from general vocabulary, never from particular notebooks."""

# words that do not help to find a cell, in the most common languages of questions
STOP = """
a an the this that these those is are was were be been being do does did done has have had having will would can could should may might must
shall i you he she it we they me my your our their its of in on at to from by with for about into over under after before between through during
and or not no nor so if then than as but what which who whom whose when where why how all any each few more most other some such only own same too
very just there here now also please tell show give say says said explain describe notebook cell cells used use uses using get gets got does
der die das den dem des ein eine einen einem einer ist sind war waren wird werden wurde wurden hat haben hatte und oder nicht kein keine mit von vom
zu zum zur im in am an auf aus bei für über unter nach vor wie was wer wo wann warum welche welcher welches welchen wieviel wieviele man sich es sie er
wir ich ihr als auch nur noch so dass wenn dann denn hier
le la les un une des du de et ou est sont était été être a ont avait au aux en dans sur sous par pour avec sans ce cette ces cet qui que quoi quel
quelle quels quelles comment pourquoi quand où combien il elle ils elles on nous vous je se ne pas plus sa son ses leur leurs y
el los las una unos unas del al y o es son fue era ser hay con sin por para como cómo qué que cuál cuáles cuánto cuántos cuántas dónde cuándo quién
se su sus lo le les más muy ya no si sí
il lo gli i uno della dello delle degli dei nel nella sono è era che chi cosa come perché quando dove quanto quanti quale quali con per tra fra
o os um uma uns umas do da dos das no na nos nas em é foi com por para qual quais quanto quantos onde como quando
het een de van op aan met voor bij uit welke wat wie waar hoe wordt worden zijn is niet
"""

# one concept a line: words that people and notebooks use for the same thing; the first is its name
CONCEPTS = """
accuracy precise correct genauigkeit exactitude exactitud precisión accuratezza precisão nauwkeurigheid 精度 准确率 точность
average mean avg durchschnitt mittelwert mittel moyenne media promedio média gemiddelde 平均 среднее
median mediane médiane mediana mediaan 中央値
minimum min smallest lowest least kleinste niedrigste minimal plus_petit mínimo minimo mínimo laagste 最小
maximum max largest biggest highest greatest größte höchste maximal grand élevé máximo massimo hoogste 最大
deviation std spread abweichung streuung écart desviación deviazione desvio spreiding
correlation corr correlate zusammenhang korrelation corrélation correlación correlazione correlação correlatie 相関 相关
missing null nan na isnull isna notnull notna dropna fillna fehlende fehlend leer manquant manquante manquantes faltante faltantes nulos mancanti ausentes ontbrekende 欠損 缺失
impute imputer fill replace ersetzen ersetzt füllen auffüllen remplacer remplir rellenar reemplazar sostituire preencher invullen
drop remove delete discard löschen entfernen entfernt supprimer enlever eliminar quitar borrar rimuovere remover verwijderen 削除
add append insert concat hinzufügen ajouter ajout añadir agregar aggiungere adicionar toevoegen 追加
split partition divide aufteilen aufgeteilt trennen teilen séparer diviser dividir dividere separar splitsen 分割
merge join combine zusammenführen verbinden verknüpfen fusionner joindre unir combinar fusionar unire juntar samenvoegen 結合
group groupby aggregate agg gruppe gruppieren gruppiert grouper regrouper groupe agrupar grupo raggruppare groeperen
sort order sortieren sortiert reihenfolge trier tri ordenar orden ordinare sorteren 並べ替え
filter query select where filtern auswählen filtrer sélectionner filtrar seleccionar filtrare selecteren
load read fetch download import open laden lesen einlesen herunterladen charger lire télécharger cargar leer descargar caricare leggere scaricare carregar ler 読み込み
save write export dump persist store speichern schreiben sauvegarder enregistrer écrire guardar escribir salvare salvar opslaan 保存
file path directory folder datei ordner verzeichnis pfad fichier dossier chemin archivo carpeta ruta cartella bestand map
row rows record instance sample observation zeile zeilen datensatz ligne lignes fila filas riga righe linha linhas rij rijen 行
column columns feature attribute field variable spalte spalten merkmal colonne colonnes caractéristique columna columnas característica colonna coluna atributo kolom kenmerk 列
table dataframe frame df tabelle tableau tabla tabella tabela tabel
type dtype typ kind datentyp tipo
shape size dimension dimensions length len größe dimensionen taille forme longueur tamaño dimensión forma dimensione tamanho grootte
count number many amount value_counts total anzahl viele nombre número cantidad numero quantità quantidade aantal 数
sum total add_up summe somme suma somma soma som 合計
percent percentage share proportion ratio rate prozent anteil pourcentage porcentaje proporción percentuale porcentagem percentage 割合
plot chart figure graph draw visualize plt show diagramm grafik abbildung zeichnen graphique graphe tracer dessiner gráfico grafico figura dibujar disegnare grafiek 図 グラフ
histogram hist distribution verteilung histogramm histogramme répartition distribución histograma distribuzione distribuição verdeling
scatter streudiagramm punktwolke nuage dispersión dispersione dispersão spreidingsdiagram
axis axes achse achsen axe eje ejes asse assi eixo as
label title caption legend beschriftung titel legende étiquette titre légende etiqueta título leyenda etichetta titolo legenda
color colour colormap cmap farbe farben couleur color colores colore colori cor kleur
line linie ligne línea linea linha lijn
train fit training learn trainieren trainiert lernen anpassen entraîner entraînement apprentissage apprendre entrenar entrenamiento entrenado addestrare addestramento treinar trainen 学習 訓練
test holdout testmenge prueba teste
predict prediction forecast vorhersage vorhersagen prédire prédiction predicción predecir previsione predire previsão voorspellen voorspelling 予測
model estimator classifier regressor modell modèle modelo modello
classify classification classifier klassifikation klassifizieren klassifikator classificateur clasificación clasificador classificazione classificatore classificação classificatie 分類
regression regressor regresión regressione regressão regressie
tree forest baum wald bäume arbre forêt arbres árbol bosque albero foresta árvore floresta boom
neighbor neighbour knn kneighbors nachbar nachbarn voisin voisins vecino vecinos vicino vizinho buur
vector svm svc svr
error rmse mse mae loss fehler erreur error errores errore erro fout 誤差
exception traceback raise raised failed fail fails crash ausnahme scheitert échoue exception falla excepción eccezione
score metric evaluate performance quality bewertung güte leistung évaluer évaluation puntuación evaluar rendimiento métrica valutare punteggio avaliar
precision präzision précision precisión precisione
recall sensitivity trefferquote sensitivität rappel sensibilidad exhaustividad richiamo
threshold cutoff schwelle schwellenwert schwellwert seuil umbral soglia limiar drempel
probability proba likelihood wahrscheinlichkeit probabilité probabilidad probabilità probabilidade kans
confusion konfusionsmatrix verwechslung konfusion matrice matriz
cross fold folds kreuzvalidierung validierung validation croisée cruzada validación incrociata validação kruisvalidatie
hyperparameter parameter parameters grid search tuning tune setting option einstellung parametre paramètre paramètres hiperparámetro parámetro iperparametro parametro parâmetro instelling
seed random random_state zufall zufällig aléatoire graine aleatorio semilla casuale seme aleatório semente willekeurig
scale standardize normalize scaler skalieren skalierung normalisieren normaliser échelle escalar escala normalizar scalare escala schalen
encode encoder onehot categorical kodieren kodierung kategorie kategorisch encoder encodage catégorie catégorielle codificar categoría categórica codifica categoria coderen
text string str zeichenkette chaîne texto cadena stringa
date time datetime timestamp day month zeit zeitpunkt tag monat jahr date heure temps jour mois fecha hora tiempo día mes ora tempo giorno mese tijd
house housing home district haus häuser wohnung immobilie bezirk maison logement immobilier district casa vivienda distrito alloggio quartiere huis woning
price cost value expensive cheap teuer cher caro costoso duur preis kosten wert prix coût valeur precio costo valor prezzo valore preço prijs waarde
income salary earn einkommen gehalt revenu salaire ingreso ingresos sueldo reddito renda salário inkomen
population people inhabitants bevölkerung einwohner habitants población habitantes popolazione população bevolking
image picture pixel digit bild bilder ziffer ziffern chiffre chiffres imagen imágenes dígito dígitos immagine cifra imagem dígito afbeelding cijfer 画像
noise rauschen bruit ruido rumore ruído ruis
function def method funktion methode fonction méthode función método funzione metodo função functie 関数
class klasse classe clase
library package module version bibliothek paket bibliothèque paquet librería biblioteca paquete libreria pacchetto
version versions requires requirement voraussetzung exigence requisito
seconds duration runtime elapsed dauer sekunden laufzeit durée secondes duración segundos durata duração duur
first begin start initial erste anfang début premier primera primero primo inizio primeiro eerste
last final end latest letzte ende schluss dernier dernière fin final último última ultimo fine laatste
best optimal top beste meilleur meilleure mejor migliore melhor
importance weight coefficient coef wichtigkeit gewicht bedeutung importance poids coefficient importancia peso coeficiente importanza importância belang
index position label indice índice
duplicate duplicated twice doppelt duplikat doublon duplicado duplicato
unique distinct different unterschiedlich verschiedene eindeutig distinct différent único distintos distinto diverso verschillend
reshape pivot stack unstack melt transpose umformen pivoter pivotar transponer
url link web address adresse lien enlace dirección indirizzo
name called named heißt heisst namens nom appelé appelle nombre llamado llama nome chiamato chama naam heet
cluster kmeans gruppierung regroupement agrupamiento
pipeline steps transformer transformation kette chaîne transformación trasformazione
confidence interval konfidenzintervall intervall vertrauen confiance intervalle confianza intervalo fiducia
outlier outliers anomaly ausreißer aberrante aberrantes atípico anomalia uitschieter
bedroom bedrooms room rooms zimmer schlafzimmer chambre chambres pièce habitación dormitorio camera stanza quarto kamer
ocean sea coast near meer küste ozean océan mer côte océano mar costa oceano mare zee kust
latitude longitude location coordinate coordinates coords koordinate koordinaten coordonnée coordonnées coordenada coordenadas coordinata coordinate geographical geo map breitengrad längengrad ort lage latitud longitud ubicación posizione kaart
curve roc auc kurve courbe curva curve
multiply product times multiplizieren produkt multiplier produit multiplicar producto moltiplicare prodotto
convert cast transform astype umwandeln konvertieren convertir conversion convertire converter omzetten
learning rate lernrate taux tasa tasso
layer layers neuron schicht couche capa strato camada laag
epoch epochs iteration epoche époque época iteración epoca iterazione
summary describe overview statistics quartile quantile percentile info zusammenfassung überblick statistik quartil resumen resumé résumé aperçu riassunto resumo samenvatting
goal target task objective purpose aim ziel aufgabe but objectif objetivo meta obiettivo doel
result output outcome ergebnis ausgabe résultat sortie resultado salida risultato resultaat
increase grow rise growth zunahme wachstum steigen augmenter croissance aumentar crecimiento aumentare crescita groei
decrease fall decline reduce abnahme sinken sank fallen diminuer baisse disminuir bajar diminuire calo dalen
difference change delta gap unterschied änderung différence changement diferencia cambio differenza verschil
compare comparison versus vs vergleich vergleichen comparer comparaison comparar comparación confrontare confronto vergelijken
install installation pip conda installieren installer instalar installare installeren
user customer client kunde benutzer utilisateur cliente usuario utente gebruiker klant
company firm business firma unternehmen entreprise société empresa azienda impresa bedrijf
email mail message spam ham nachricht courriel correo mensaje messaggio mensagem bericht
week weekday woche semaine semana settimana
revenue sales profit turnover umsatz gewinn chiffre_affaires ventes bénéfice ventas ingresos beneficio vendite ricavi vendas omzet winst
weather temperature wetter temperatur météo température clima temperatura
animal species tier espèce especie specie
woman women female frau frauen weiblich femme femmes mujer mujeres donna donne mulher vrouw
man men male mann männer männlich homme hommes hombre hombres uomo uomini homem
survive survived survival alive died überleben überlebt survivre survie sobrevivir sopravvivere sobreviver overleven
student pupil grade marks schüler noten étudiant élève notes estudiante alumno notas studente voto voti aluno
"""
